# shellcheck shell=bash
# Three example calls with the demo data's credentials, and the token that one of them needs. The README shows the same
# calls; deploy/dev/smoke runs them and compares the answers.

# OPERATOR_ID of community's demo data.
demo_operator=302023111900000001
demo_key=0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef

# Prints a bearer token of the demo operator of HC, and nothing else.
token_command() {
    [ $# -eq 0 ] || die 64 "usage: ./dev token"
    need_running
    "$programs/community" token --operator "$demo_operator"
}

print_commands() {
    local rest billing dev
    if [ "$PWD" = "$root" ]; then dev=./dev; else dev=$(printf '%q' "$root/dev"); fi
    if [ "${COMMUNAL_DEMO:-1}" = 0 ]; then
        cat <<TEXT

It is empty and knows no credentials yet; make the first ones with
  $dev billing channel add --help
  $dev community channel add --help
TEXT
        return
    fi
    rest=http://$(reachable "$COMMUNAL_GATEWAY_ADDR")
    billing=$(reachable "$COMMUNAL_BILLING_ADDR")
    cat <<TEXT

Three commands to try. What a book of customers owes (EPEIS):

  curl -s $rest/Service/v1/QueryUserArrearages/ -d '{
    "SYS_HEAD": {"CHANNEL_DID": "C000000000000001", "REGISTER_DID": "R000000000000001", "ACCOUNT_DID": "S000000000000001",
      "DYNAMIC_KEY": "$demo_key"},
    "ACC_VOLPRICE_OWE": {"BOOK_AID": "B000000000000001"}}'

The fee items of a community (HC):

  curl -s '$rest/app/feeConfig.listFeeConfigs?page=1&row=10&communityId=10001' \\
    -H 'app-id: micro-community' -H 'transaction-id: 100000000020240301083000000001' -H 'req-time: 20240301083000' \\
    -H "Authorization: Bearer \$($dev token)"

The same arrears over gRPC:

  grpcurl -plaintext -H 'x-channel-id: C000000000000001' -H 'x-operator-id: R000000000000001' -H 'x-tenant-id: S000000000000001' \\
    -H 'x-channel-key: $demo_key' \\
    -d '{"ACC_VOLPRICE_OWE": {"BOOK_AID": "B000000000000001"}}' \\
    $billing communal.billing.v1.ReceivableService/QueryUserArrearages

TEXT
}
