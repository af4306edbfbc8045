# shellcheck shell=bash
# What a newcomer pastes: three calls with the demo data's credentials, and the token that one of them needs.
# The README shows the same; deploy/dev/smoke runs them and compares.

demo_key=0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef

# A bearer token of the demo operator of HC, and nothing else.
token_command() {
    [ $# -eq 0 ] || die 64 "usage: ./dev token"
    make_home
    locate_server
    if ! find_programs; then
        need_compiler
        need_rust
        build
    fi
    export_settings
    "$programs/community" token --operator "$demo_operator"
}

print_commands() {
    local rest billing dev
    if [ "${COMMUNAL_DEMO:-1}" = 0 ]; then
        cat <<TEXT

It is empty and knows no credentials yet; make the first ones with
  $programs/billing channel add --help
  $programs/community channel add --help
TEXT
        return
    fi
    rest=http://$(reachable "$COMMUNAL_GATEWAY_ADDR")
    billing=$(reachable "$COMMUNAL_BILLING_ADDR")
    if [ "$PWD" = "$root" ]; then dev=./dev; else dev=$(printf '%q' "$root/dev"); fi
    cat <<TEXT

Three commands to try. What a meter-reading book owes, as EPEIS asks for it:

  curl -sS $rest/Service/v1/QueryUserArrearages/ -H 'content-type: application/json' -d '{
    "SYS_HEAD": {"CHANNEL_DID": "C000000000000001", "REGISTER_DID": "R000000000000001", "ACCOUNT_DID": "S000000000000001",
      "DYNAMIC_KEY": "$demo_key"},
    "ACC_VOLPRICE_OWE": {"BOOK_AID": "B000000000000001"}}'

The fee items of a community, as HC asks for them:

  curl -sS "$rest/app/feeConfig.listFeeConfigs?communityId=10001&page=1&row=3" \\
    -H 'app-id: micro-community' -H "transaction-id: \$RANDOM\$RANDOM" -H "req-time: \$(TZ=Asia/Shanghai date +%Y%m%d%H%M%S)" \\
    -H "authorization: Bearer \$($dev token)"

The same arrears over gRPC:

  grpcurl -plaintext -H 'x-channel-id: C000000000000001' -H 'x-operator-id: R000000000000001' -H 'x-tenant-id: S000000000000001' \\
    -H 'x-channel-key: $demo_key' \\
    -d '{"ACC_VOLPRICE_OWE": {"BOOK_AID": "B000000000000001"}}' \\
    $billing communal.billing.v1.ReceivableService/QueryUserArrearages

TEXT
}
demo_operator=U000000000000001
