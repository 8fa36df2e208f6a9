#!/bin/bash
# What deploy/image/node does to a node, shown on a made-up one. Arguments: the directory of the programs.
set -eu -o pipefail
here=$(cd "$(dirname "$0")" && pwd)
export PROGRAMS NODE_ROOT
NODE_ROOT=$(mktemp -d)
PROGRAMS=$(mktemp -d)
trap 'rm -rf "$NODE_ROOT" "$PROGRAMS"' EXIT
node=$here/../image/node
cp "$1"/{cni-vhostuser,podswitch-port,podswitch-device-plugin} "$PROGRAMS/"

fail() {
    echo "node: NOT SO: $*" >&2
    exit 1
}

"$node" install
cmp "$PROGRAMS/cni-vhostuser" "$NODE_ROOT/opt/cni/bin/cni-vhostuser" || fail "the plugin is installed"

# A program that runs cannot be written to ("text file busy"): it must be replaced, and the one that runs goes on.
cp "$(command -v sleep)" "$PROGRAMS/podswitch-port"
"$node" install
"$NODE_ROOT/opt/podswitch/bin/podswitch-port" 60 &
running=$!
cp "$1/podswitch-port" "$PROGRAMS/"
"$node" install || fail "a program that runs is replaced"
kill -0 "$running" || fail "the program that ran goes on"
kill "$running"
cmp "$PROGRAMS/podswitch-port" "$NODE_ROOT/opt/podswitch/bin/podswitch-port" || fail "it was replaced"

# Another's plugin stays.
echo other >"$NODE_ROOT/opt/cni/bin/other"
mkdir -p "$NODE_ROOT/run/podswitch/devices/n0-0000/"{port,socket} "$NODE_ROOT/var/lib/podswitch"
touch "$NODE_ROOT/run/podswitch/devices/n0-0000/port/port.json" "$NODE_ROOT/var/lib/podswitch/state.db"
if "$node" uninstall 2>/dev/null; then fail "a node with attached pods is left alone"; fi
[ -e "$NODE_ROOT/opt/cni/bin/cni-vhostuser" ] || fail "nothing is removed before it refuses"
FORCE=1 "$node" uninstall
left=$(cd "$NODE_ROOT" && find . -not -type d)
[ "$left" = ./opt/cni/bin/other ] || fail "nothing of ours is left, and all of others: $left"
[ ! -e "$NODE_ROOT/run/podswitch" ] && [ ! -e "$NODE_ROOT/opt/podswitch" ] || fail "no directory of ours is left"
"$node" uninstall || fail "twice is as good as once"
echo "node: install, replace and uninstall do what they say"
