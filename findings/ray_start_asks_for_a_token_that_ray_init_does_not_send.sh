#!/usr/bin/env bash
# Ray 2.60.0, Python 3.11, Linux, 2026-11-28.
#
# A local `ray.init()` leaves a token in ~/.ray/auth_token. From then on `ray start --head` starts a cluster that asks for
# the token ("Token authentication is enabled for this Ray cluster"). One would expect a driver of the same user on the
# same machine to connect as its banner says, with `ray.init(address=...)`. It does not send the token while
# RAY_AUTH_MODE is not set: after some twenty seconds it raises ConnectionError ("Failed to connect to Ray cluster at ...")
# and says that a previous instance has crashed. With RAY_AUTH_MODE=token it connects, also to a cluster without tokens.
set -euo pipefail
folder=$(mktemp -d)
head_pid=
finish() {
    [ -z "$head_pid" ] || { kill "$head_pid" 2>/dev/null || true; wait "$head_pid" 2>/dev/null || true; }
    rm -rf "$folder"
}
trap finish EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet ray==2.60.0
export HOME="$folder" RAY_USAGE_STATS_ENABLED=0
unset RAY_AUTH_MODE RAY_ADDRESS
"$folder/venv/bin/python" - <<'PYTHON'
import ray
ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False)
ray.shutdown()
PYTHON
test -s "$folder/.ray/auth_token"
echo "ray.init() has left a token"

port=$(python3 -c "import socket; s = socket.socket(); s.bind(('127.0.0.1', 0)); print(s.getsockname()[1])")
"$folder/venv/bin/ray" start --head --block --node-ip-address=127.0.0.1 --port="$port" --num-cpus=1 \
    --include-dashboard=false > "$folder/head.log" 2>&1 &
head_pid=$!
for _ in $(seq 120); do grep -q "Ray runtime started" "$folder/head.log" && break; sleep 1; done
grep -o "Token authentication is enabled for this Ray cluster" "$folder/head.log"

connect() {
    "$folder/venv/bin/python" - "127.0.0.1:$port" 2>/dev/null <<'PYTHON'
import sys
import ray
try:
    ray.init(address=sys.argv[1], log_to_driver=False)
    print("connected")
except ConnectionError as error:
    print("ConnectionError:", str(error)[:32])
PYTHON
}
plain=$(connect)
with_mode=$(RAY_AUTH_MODE=token connect)
echo "RAY_AUTH_MODE not set: $plain"
echo "RAY_AUTH_MODE=token:   $with_mode"
[ "$plain" = "ConnectionError: Failed to connect to Ray cluster" ]
[ "$with_mode" = "connected" ]
