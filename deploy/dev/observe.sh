# shellcheck shell=bash
# `./dev observe`: shows the traces and metrics of Communal. Runs it on a temporary PostgreSQL with demo data, makes a
# few calls, prints one trace from REST to SQL as it came over OTLP, and the metrics that Prometheus scraped. Stops
# everything it started.

# Sets prometheus_dir, the folder of prometheus and promtool. Debian's package would start a service of its own, so
# only the programs are extracted from it.
need_prometheus() {
    local folder=$COMMUNAL_HOME/prometheus
    if have prometheus && have promtool; then
        prometheus_dir=$(dirname "$(command -v prometheus)")
        [ ! -x "$prometheus_dir/promtool" ] || return 0
    fi
    prometheus_dir=$folder/usr/bin
    [ ! -x "$prometheus_dir/prometheus" ] || return 0
    { have apt-get && have dpkg-deb; } || die 1 "prometheus and promtool are missing: install Prometheus 2.42 or newer"
    say "Fetching Prometheus (apt-get download prometheus) …"
    rm -rf "$folder"
    mkdir -p "$folder"
    # A machine may have no package lists yet; only its administrator can fetch them.
    if ! (
        cd "$folder" &&
            { apt-get download -qq prometheus 2>/dev/null || { apt_refresh && apt-get download -qq prometheus; }; } &&
            dpkg-deb -x prometheus_*.deb .
    ); then
        die 1 "Prometheus could not be fetched: install it"
    fi
    rm -f "$folder"/prometheus_*.deb
}

observe_dir=''
observe_pids=''

observe_command() {
    local profile=${COMMUNAL_PROFILE:-dev} trace traceparent answered printer
    [ $# -eq 0 ] || die 64 "usage: ./dev observe"
    need_curl
    need_compiler
    need_rust
    need_postgres
    make_home
    need_prometheus
    # The environment of the calling shell must not influence the output.
    unset COMMUNAL_BILLING_DATABASE_URL COMMUNAL_COMMUNITY_DATABASE_URL COMMUNAL_CONFIG COMMUNAL_LOG COMMUNAL_TRACE_RATIO
    unset COMMUNAL_GATEWAY_BILLING_URL COMMUNAL_GATEWAY_COMMUNITY_URL
    trap observe_stop EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
    say "Building ($profile) …"
    interruptible in_root cargo build --profile "$profile" --locked -p communal-billing -p communal-community \
        -p communal-standalone --bins --examples || die 1 "the build failed"
    case $profile in dev) programs=$(target_dir)/debug ;; *) programs=$(target_dir)/$profile ;; esac
    observe_dir=$(mktemp -d /var/tmp/communal-observe.XXXXXX)
    observe_start
    trace=$(random_hex 16)
    # The form of W3C trace context; the flag 01 marks the trace as sampled.
    traceparent=00-$trace-$(random_hex 8)-01

    # It prints the trace when it is complete, and gives up after a minute.
    "$programs/examples/trace_printer" "$observe_otlp" "$trace" 60 >"$observe_dir/trace" 2>&1 &
    printer=$!
    observe_pids="$observe_pids $printer"

    say "Calling: arrears over REST as part of trace $trace, and some more …"
    answered=$(observe_arrears "$demo_key" -D - -o /dev/null -H "traceparent: $traceparent" | tr -d '\r' | sed -n 's/^x-trace-id: //p')
    [ "$answered" = "$trace" ] || die 1 "x-trace-id is «$answered», not the trace that was sent"
    observe_more
    wait "$printer" || {
        cat "$observe_dir/trace" >&2
        die 1 "the trace did not come; what Communal said: $(tail -n 5 "$observe_dir/communal.log")"
    }
    printf '\nOne trace, as it came over OTLP (begin, duration):\n\n'
    cat "$observe_dir/trace"
    observe_metrics
    printf '\nA line of a call that was refused, as JSON:\n\n'
    grep '"call refused"' "$observe_dir/communal.log" | head -n 1
}

# free_address: prints 127.0.0.1 with a free port.
free_address() {
    local port
    while :; do
        port=$((20000 + RANDOM % 12000))
        # shellcheck disable=SC2188 # opening the connection is the question
        (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || break
    done
    printf '127.0.0.1:%s' "$port"
}

observe_start() {
    local name
    say "Starting a throw-away PostgreSQL, Communal and Prometheus …"
    start_scratch
    # The functions below create and name their databases by this.
    pg_socket=$scratch_socket
    create_databases
    for name in GATEWAY BILLING COMMUNITY GATEWAY_ADMIN BILLING_ADMIN COMMUNITY_ADMIN BILLING_IDENTITY COMMUNITY_IDENTITY; do
        eval "COMMUNAL_${name}_ADDR=\$(free_address)"
    done
    observe_otlp=$(free_address)
    observe_prometheus=$(free_address)
    COMMUNAL_LOG_FORMAT=json
    export_settings
    prepare_data 2>"$observe_dir/data.log" || die 1 "no data: $(cat "$observe_dir/data.log")"
    # The caller of the one trace knows its id before it calls.
    COMMUNAL_TRACE_CALLERS=followed COMMUNAL_OTLP_ENDPOINT=http://$observe_otlp OTEL_BSP_SCHEDULE_DELAY=200 \
        "$programs/communal" serve </dev/null >"$observe_dir/communal.log" 2>&1 &
    observe_communal=$!
    observe_pids="$observe_pids $observe_communal"
    wait_ready "$observe_communal" 60 || die 1 "Communal did not become ready: $(tail -n 5 "$observe_dir/communal.log")"
    sed -e 's/15s/1s/' -e "s|rules/|$root/deploy/observability/rules/|" -e "s/billing:9051/$COMMUNAL_BILLING_ADMIN_ADDR/" \
        -e "s/community:9052/$COMMUNAL_COMMUNITY_ADMIN_ADDR/" -e "s/gateway:9080/$COMMUNAL_GATEWAY_ADMIN_ADDR/" \
        "$root/deploy/observability/prometheus.yaml" >"$observe_dir/prometheus.yaml"
    "$prometheus_dir/prometheus" --config.file="$observe_dir/prometheus.yaml" --storage.tsdb.path="$observe_dir/data" \
        --web.listen-address="$observe_prometheus" >"$observe_dir/prometheus.log" 2>&1 &
    observe_pids="$observe_pids $!"
}

# observe_arrears KEY [CURL ARGUMENT…]
observe_arrears() {
    local key=$1
    shift
    curl -sS --noproxy '*' --max-time 10 "$@" "http://$COMMUNAL_GATEWAY_ADDR/Service/v1/QueryUserArrearages/" -d '{
        "SYS_HEAD": {"CHANNEL_DID": "C000000000000001", "REGISTER_DID": "R000000000000001",
                     "ACCOUNT_DID": "S000000000000001", "DYNAMIC_KEY": "'"$key"'"},
        "ACC_VOLPRICE_OWE": {"BOOK_AID": "B000000000000001"}}'
}

observe_more() {
    local token number
    token=$("$programs/community" token --operator "$demo_operator")
    for number in 1 2 3 4 5 6 7 8 9 10; do
        observe_arrears "$demo_key" -o /dev/null
        curl -sS --noproxy '*' --max-time 10 -o /dev/null -H 'app-id: micro-community' -H "transaction-id: observe$number" \
            -H 'req-time: 20240301083000' -H "Authorization: Bearer $token" \
            "http://$COMMUNAL_GATEWAY_ADDR/app/feeConfig.listFeeConfigs?page=1&row=10&communityId=10001"
    done
    observe_arrears wrong -o /dev/null
}

observe_metrics() {
    local tries=40 answer=''
    # Rates need two scrapes, and the second one comes a second later.
    while :; do
        answer=$(observe_ask 'sum(up)' || true)
        case $answer in *'=> 3 @'*) break ;; esac
        tries=$((tries - 1))
        [ "$tries" -gt 0 ] || die 1 "Prometheus does not find all three: $answer; $(tail -n 3 "$observe_dir/prometheus.log")"
        sleep 0.5
    done
    sleep 2
    printf '\nWhat Prometheus scraped (one process here, so each job shows all):\n\n'
    # The form is "{labels} => value @[time]".
    {
        observe_ask 'communal_build_info{job="gateway"}'
        observe_ask 'gateway_requests_total{job="gateway"}'
        observe_ask 'communal_calls_total{job="billing", method=~"/communal.*"}'
        observe_ask 'communal_refused_credentials_total{job="billing"}'
        observe_ask 'communal_database_connections{job="billing"}'
        observe_ask 'sum by (statement) (communal_statement_seconds_count{job="billing"})'
        observe_ask 'histogram_quantile(0.99, sum by (le) (communal_database_acquire_seconds_bucket{job="billing"}))'
    } | sed -e 's/ @\[[^]]*\]$//' -e 's/instance="[^"]*", //' -e 's/job="[^"]*", //'
    printf '\nRules loaded: %s, alerts that fire: %s\n' \
        "$(curl -sS --noproxy '*' "http://$observe_prometheus/api/v1/rules" | grep -o '"type":"[a-z]*ing"' | wc -l)" \
        "$(curl -sS --noproxy '*' "http://$observe_prometheus/api/v1/alerts" | grep -o '"state":"firing"' | wc -l)"
}

observe_ask() { "$prometheus_dir/promtool" query instant "http://$observe_prometheus" "$1" 2>>"$observe_dir/promtool.log"; }

# Runs at every exit. Communal stops first: it exports its last spans and closes its connections.
observe_stop() {
    local status=$? pid
    trap '' INT TERM HUP
    end_child
    for pid in $observe_pids; do
        kill -TERM "$pid" 2>/dev/null || true
    done
    for pid in $observe_pids; do
        wait_gone "$pid" 20 || kill -KILL "$pid" 2>/dev/null || true
    done
    stop_scratch
    case $observe_dir in /var/tmp/communal-observe.*) rm -rf "$observe_dir" ;; esac
    exit "$status"
}
