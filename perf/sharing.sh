#!/bin/bash
# Shows that a worker whose flows share no port with another worker writes no cache line that the other touches,
# entries of the MAC table and their ages excepted.
#
# The test worker::tests::sharing of the dataplane, built as for perf/instructions.sh, runs under lackey, which lists
# every load and store. Those within the marked turns of each worker are sorted into cache lines; a line that one
# worker wrote and the other read or wrote is shared. The last scenario makes two workers send to one port: if nothing
# is found there, the check itself is broken.
set -eu -o pipefail
cd "$(dirname "$0")/.."

valgrind --version >/dev/null 2>&1 || {
    echo "sharing: NOT DONE: valgrind is not installed (make setup)" >&2
    [ -z "${CI:-}" ]
    exit
}

out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
mkfifo "$out/trace"

cat >"$out/sort.awk" <<'AWK'
BEGIN { for (i = 0; i < 16; i++) digit[sprintf("%x", i)] = i; found = 0; who = -1; scenario = 1 }

function hex(text,    i, n) { for (i = 1; i <= length(text); i++) n = 16 * n + digit[substr(text, i, 1)]; return n }

/^I/ { next }

# The marks: words that are stored to 5000 times in a row, one after the other.
found < 4 {
    if ($2 == before) { if (++times == 4999) { mark[$2] = found++; times = 0; before = "" } }
    else { before = $2; times = 0 }
    next
}

/^ [LSM] / {
    if ($2 in mark) {
        if ($1 == "L") next # an exchange is a load and a store
        if (mark[$2] < 2) { who = mark[$2]; turns[scenario, who]++ }
        else if (mark[$2] == 2) who = -1
        else scenario++
    } else if (who >= 0) {
        split($2, access, ",")
        first = hex(access[1])
        for (line = int(first / 64); line * 64 < first + access[2]; line++) {
            touched[scenario, who, line] = $2
            if ($1 != "L") wrote[scenario, who, line] = $2
        }
    }
}

function names(line,    i, text) {
    for (i = 1; i <= places[s]; i++)
        if (from[s, i] < line * 64 + 64 && to[s, i] > line * 64) text = text (text ? "; " : "") what[s, i]
    return text ? text : "not a place that the test told of"
}

END {
    while ((getline text < told) > 0) {
        if (!match(text, /sharing (scenario|place) /)) continue
        split(substr(text, RSTART), word, " ")
        if (word[2] == "scenario") { s++; title[s] = word[3]; finding[s] = word[4]; continue }
        i = ++places[s]
        from[s, i] = hex(word[3]); to[s, i] = hex(word[4])
        sub(/.*sharing place [0-9a-f]+ [0-9a-f]+ /, "", text)
        what[s, i] = text
    }
    if (s == 0 || scenario != s + 1) { print "sharing: the trace and what the test told do not belong together"; exit 1 }
    for (key in touched) { split(key, k, SUBSEP); lines[k[1], k[2], "touched"]++ }
    for (key in wrote) {
        split(key, k, SUBSEP); lines[k[1], k[2], "wrote"]++
        if ((k[1], 1 - k[2], k[3]) in touched) shared[k[1], k[3]] = 1
    }
    for (s = 1; s < scenario; s++) {
        entries = others = 0; list = ""
        for (key in shared) {
            split(key, k, SUBSEP)
            if (k[1] != s) continue
            name = names(k[2])
            if (name == "MAC entries") { entries++; continue }
            if (name ~ /^stack/) continue
            others++
            list = list "   "
            for (w = 0; w < 2; w++) list = list " worker " w (((s, w, k[2]) in wrote) ? " wrote " wrote[s, w, k[2]] : " read " touched[s, w, k[2]]) ";"
            list = list " " name "\n"
        }
        for (w = 0; w < 2; w++) if (!turns[s, w] || !lines[s, w, "wrote"]) { print "sharing: worker " w " did nothing in " title[s]; bad++ }
        printf "%-14s worker 0 wrote %d of %d lines that it touched, worker 1 %d of %d; shared: %d, and %d of MAC entries\n", title[s],
            lines[s, 0, "wrote"], lines[s, 0, "touched"], lines[s, 1, "wrote"], lines[s, 1, "touched"], others, entries
        if (finding[s] == "Something") { if (others == 0) { print "sharing: nothing was found where two workers send to one port: the check is broken"; bad++ } continue }
        if (others > 0) { printf "sharing: workers without a common port share %d lines:\n%s", others, list; bad++ }
        if (finding[s] == "Nothing" && entries > 0) { print "sharing: MAC entries were written although all are declared"; bad++ }
        if (finding[s] == "Entries" && entries == 0) print "sharing: note: no line of MAC entries was shared this time"
    }
    if (bad) exit 1
    print "sharing: as it should be"
}
AWK
awk -v told="$out/test" -f "$out/sort.awk" "$out/trace" &
sorting=$!

host=$(rustc -vV | sed -n 's/^host: //p' | tr 'a-z-' 'A-Z_')
export "CARGO_TARGET_${host}_RUNNER=valgrind --tool=lackey --trace-mem=yes --log-file=$out/trace"
# Under lackey a backtrace takes minutes.
export RUST_BACKTRACE=0
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-target}/instructions RUSTFLAGS="--cfg unaudited"
cargo test -q ${CI:+--locked} --release -p dataplane --lib -- --exact --test-threads=1 --nocapture \
    worker::tests::sharing::workers_write_no_line_of_each_other >"$out/test" 2>&1 || {
    cat "$out/test" >&2
    kill "$sorting" 2>/dev/null
    exit 1
}
wait "$sorting"
