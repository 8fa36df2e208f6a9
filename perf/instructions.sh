#!/bin/bash
# Counts the instructions that a frame costs on the main paths of a worker, and compares them with the table
# perf/instructions.toml.
#
#   perf/instructions.sh            compare; fails if a path costs more or less than the table says
#   perf/instructions.sh update     write the table anew
#   perf/instructions.sh lines PATH where the instructions of one path are, by function and by source line
#
# The paths are the test worker::tests::instructions of the dataplane, built as the product is (release profile;
# `--cfg unaudited` leaves out the byte counters that other tests need) and run under callgrind, which counts the
# worker's turns alone. Callgrind knows no AVX-512, so what is counted is the AVX2 path. Timing plays no part: on a
# busy machine the counts are the same.
set -eu -o pipefail
cd "$(dirname "$0")/.."

table=perf/instructions.toml
# Per cent. The counts of one tree and one compiler do not differ at all; a change elsewhere was seen to move a row by
# 1.4, through what the compiler then chose to inline or to keep in registers.
tolerance=3
mode=${1:-compare}

[ -f $table ] || [ "$mode" != compare ] || { echo "instructions: $table is missing" >&2; exit 1; }
rustc=$(rustc --version)
valgrind=$(valgrind --version 2>/dev/null) || {
    echo "instructions: NOT DONE: valgrind is not installed (make setup)" >&2
    [ -z "${CI:-}" ]
    exit
}

out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT

# Runs the test under callgrind; cargo does it, as it knows where the test is.
host=$(rustc -vV | sed -n 's/^host: //p' | tr 'a-z-' 'A-Z_')
export "CARGO_TARGET_${host}_RUNNER=valgrind --tool=callgrind --collect-atstart=no --dump-instr=yes --log-file=$out/log --callgrind-out-file=$out/count"
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-target}/instructions RUSTFLAGS="--cfg unaudited"
cargo test -q ${CI:+--locked} --release -p dataplane --lib -- --exact --test-threads=1 \
    worker::tests::instructions::paths_are_what_their_names_say >"$out/test" 2>&1 || {
    cat "$out/test" "$out/log" >&2
    exit 1
}

# One file a path, with a title "path NAME TIMES LEVEL" and a sum: lines "NUMBER NAME COUNT LEVEL FILE", in order.
for file in "$out"/count.*; do
    awk -v file="$file" '/^part: / { part = $2 }
        /^desc: Trigger: Client Request: path / { name = $6; times = $7; level = $8 }
        /^summary: / { if (name != "") printf "%d %s %.2f %s %s\n", part, name, $2 / times, level, file }' "$file"
done | sort -n >"$out/now"
[ -s "$out/now" ] || { echo "instructions: callgrind counted nothing" >&2; cat "$out/test" "$out/log" >&2; exit 1; }
level=$(awk 'NR == 1 { print $4 }' "$out/now")

case $mode in
lines)
    file=$(awk -v name="${2:?which path}" '$2 == name { print $5 }' "$out/now")
    callgrind_annotate --auto=yes --show-percs=no "${file:?no path of that name}"
    exit
    ;;
update)
    {
        echo "# Instructions that a worker executes for one frame, on its main paths: per frame, and for the row"
        echo "# empty_poll per visit to an idle port. Bursts of 32 and frames of 64 bytes unless the name says otherwise;"
        echo "# worker/tests/instructions.rs of the dataplane says what each path is. Written by \`make instructions UPDATE=1\`."
        echo "rustc = \"$rustc\""
        echo "# Counted with $valgrind, which knows no AVX-512: a CPU that has it executes fewer on long frames."
        echo "level = \"$level\""
        echo
        echo "[paths]"
        awk '{ printf "%s = %s\n", $2, $3 }' "$out/now"
    } >"$table"
    echo "instructions: $table is written"
    awk '{ printf "%-32s %10.2f\n", $2, $3 }' "$out/now"
    exit
    ;;
compare) ;;
*)
    sed -n '5,7s/^#   //p' "$0" >&2
    exit 2
    ;;
esac

of_table() { sed -n "s/^$1 = \"\(.*\)\"$/\1/p" "$table"; }
if [ "$(of_table level)" != "$level" ] || [ "$(of_table rustc)" != "$rustc" ]; then
    echo "instructions: NOT DONE: the table is of $(of_table rustc) at $(of_table level), this is $rustc at $level;" \
        "counts of different compilers cannot be compared (make instructions UPDATE=1 writes a new table)" >&2
    awk '{ printf "%-32s %10.2f\n", $2, $3 }' "$out/now"
    exit 0
fi

awk -v tolerance="$tolerance" '
    FNR == NR { if (rows && NF == 3) { then_[$1] = $3; known++ } if ($0 == "[paths]") rows = 1; next }
    FNR == 1 { printf "%-32s %10s %10s %8s\n", "instructions a frame", "table", "now", "%" }
    {
        name = $2; now = $3; seen[name] = 1
        if (!(name in then_)) { printf "%-32s %10s %10.2f %8s  not in the table\n", name, "-", now, "-"; bad++; next }
        change = 100 * (now - then_[name]) / then_[name]
        verdict = ""
        if (change > tolerance) { verdict = "  WORSE"; worse++ }
        if (change < -tolerance) { verdict = "  better"; better++ }
        printf "%-32s %10.2f %10.2f %+8.2f%s\n", name, then_[name], now, change, verdict
    }
    END {
        for (name in then_) if (!(name in seen)) { printf "%-32s %10.2f %10s %8s  not counted any more\n", name, then_[name], "-", "-"; bad++ }
        if (worse) print "instructions: " worse " path(s) more than " tolerance " % above the table"
        if (better) print "instructions: better: write it down with `make instructions UPDATE=1`"
        if (bad) print "instructions: the table has other rows than were counted: make instructions UPDATE=1"
        if (worse + better + bad) exit 1
        print "instructions: " FNR " paths as the table says"
    }' "$table" "$out/now"
