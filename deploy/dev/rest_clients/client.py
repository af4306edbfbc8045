"""A client that openapi-python-client generates: it is imported whole, and its calls are answered. Usage: client.py URL TOKEN.

The generated package is called «generated».
"""

import importlib
import pkgutil
import sys
import time

import generated
from generated.api.fee_item_service import fee_config_list_fee_configs as list_fee_configs
from generated.api.receivable_service import query_user_arrearages
from generated.models import EpeisRefusal, HcRefusal, QueryUserArrearagesBody

HEAD = {
    "CHANNEL_DID": "C000000000000001",
    "DYNAMIC_KEY": "0123456789abcdef" * 4,
    "REGISTER_DID": "R000000000000001",
    "ACCOUNT_DID": "S000000000000001",
}


def main():
    url, token = sys.argv[1:]
    modules = [importlib.import_module(module.name) for module in pkgutil.walk_packages(generated.__path__, "generated.")]
    client = generated.AuthenticatedClient(base_url=url, token=token)

    asked = {"SYS_HEAD": HEAD, "ACC_VOLPRICE_OWE": {"BOOK_AID": "B000000000000001"}}
    arrears = query_user_arrearages.sync(client=client, body=QueryUserArrearagesBody.from_dict(asked))
    if arrears is None or isinstance(arrears, EpeisRefusal):
        sys.exit(f"arrears: {arrears}")
    wrong = asked | {"SYS_HEAD": HEAD | {"DYNAMIC_KEY": "f" * 64}}
    refused = query_user_arrearages.sync(client=client, body=QueryUserArrearagesBody.from_dict(wrong))
    if not isinstance(refused, EpeisRefusal):
        sys.exit(f"a wrong key: {refused}")
    items = list_fee_configs.sync(
        client=client,
        page=1,
        row=10,
        community_id="10001",
        app_id="micro-community",
        transaction_id=str(time.time_ns()),
        req_time="20240301083000",
    )
    if items is None or isinstance(items, HcRefusal):
        sys.exit(f"fee items: {items}")
    lines = len(arrears.data.acc_volprice_owe)
    print(f"Python: {len(modules)} modules, {lines} lines of arrears, {len(items.fee_configs)} fee items; refused: {refused.message}")


if __name__ == "__main__":
    main()
