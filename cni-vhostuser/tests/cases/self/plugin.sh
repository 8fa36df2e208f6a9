#!/bin/sh
# A CNI plugin that the suite is tested with: right as it stands, wrong in one way if WRONG names it. It keeps a file for
# each attachment in STATE, and a link in the namespace for each if LINKS is set.
set -u
export LC_ALL=C
verb=${CNI_COMMAND-}
wrong=${WRONG-}
good= version= name=
input=$(tr -d '\000')
eval "$(printf %s "$input" | jq -ers 'if length == 1 and (.[0] | type) == "object" and (.[0].name | type) != "number" then .[0] else empty end
    | @sh "good=1 version=\(.cniVersion // "" | tostring) name=\(.name // "")"' 2>/dev/null)"

fail() {
    object="\"code\":$1,\"msg\":\"$2\"}"
    case $wrong in
        error-on-stderr) echo "{\"cniVersion\":\"${version:-1.1.0}\",$object" >&2 ;;
        error-in-words) echo "$2" ;;
        error-without-version) echo "{$object" ;;
        *) echo "{\"cniVersion\":\"${version:-1.1.0}\",$object" ;;
    esac
    [ "$wrong" = exit-zero ] && exit 0
    exit 1
}

bad_name() {
    case $1 in '' | [!A-Za-z0-9]* | *[!A-Za-z0-9_.-]*) return 0 ;; esac
    return 1
}

case $verb in
    ADD | CHECK) needed='CNI_CONTAINERID CNI_NETNS CNI_IFNAME CNI_PATH' ;;
    DEL) needed='CNI_CONTAINERID CNI_IFNAME' ;;
    GC | STATUS) needed=CNI_PATH ;;
    VERSION) needed= ;;
    '') fail 4 'CNI_COMMAND is missing' ;;
    *) fail 4 "unknown CNI_COMMAND $verb" ;;
esac
[ "$wrong$verb" = delete-needs-netnsDEL ] && needed="$needed CNI_NETNS"
missing=
for variable in $needed; do
    eval "value=\${$variable-}"
    [ -n "$value" ] || missing="$missing $variable"
done
if [ -n "$missing" ]; then
    [ "$wrong" = names-first-alone ] && missing=$(echo "$missing" | cut -d ' ' -f 2)
    fail 4 "missing:$missing"
fi
if [ "$verb" = VERSION ]; then
    all='["0.3.0","0.3.1","0.4.0","1.0.0","1.1.0"]'
    [ "$wrong" = version-not-listed ] && all='["0.3.0","0.3.1","0.4.0","1.0.0"]'
    echo "{\"cniVersion\":\"${version:-1.1.0}\",\"supportedVersions\":$all}"
    exit 0
fi
if [ -z "$good" ]; then
    [ "$wrong" = dies-of-bad-json ] && kill -SEGV $$
    fail 6 'no configuration'
fi
if [ "$verb" != GC ] && [ "$verb" != STATUS ]; then
    if [ "$wrong" != any-container-id ] && bad_name "$CNI_CONTAINERID"; then fail 4 'bad CNI_CONTAINERID'; fi
    case $CNI_IFNAME in
        . | .. | */* | *:* | *[[:space:]]* | ????????????????*)
            [ "$wrong" = any-ifname ] || fail 4 'bad CNI_IFNAME'
            ;;
    esac
fi
[ "$wrong" = any-name ] || { bad_name "$name" && fail 7 'bad name'; }
case $version in
    0.3.0 | 0.3.1) [ "$verb" = ADD ] || [ "$verb" = DEL ] || [ "$wrong" = verb-in-any-version ] || fail 1 "no $verb yet" ;;
    0.4.0 | 1.0.0) [ "$verb" != GC ] && [ "$verb" != STATUS ] || [ "$wrong" = verb-in-any-version ] || fail 1 "no $verb yet" ;;
    1.1.0) ;;
    *) [ "$wrong" = any-version ] || fail 1 'unknown version' ;;
esac

id=${CNI_CONTAINERID-}
if [ "$wrong" = cuts-ids ]; then
    [ ${#id} -ge 8 ] || { echo 'panic: slice bounds out of range' >&2; exit 2; }
fi
[ ${#id} -le 100 ] || [ "$wrong" = long-file-names ] || id=$(printf %s "$id" | sha1sum | cut -c 1-40)
file=$STATE/$id.${CNI_IFNAME-}
mkdir -p "$STATE"
inside() { nsenter --net="${CNI_NETNS-}" "$@"; }

case $verb in
    ADD)
        case ${CNI_ARGS-} in *=*=*=*=*=*=*) [ "$wrong" = one-equals-sign ] && fail 4 'bad CNI_ARGS' ;; esac
        case $(stat -f -c %T "$CNI_NETNS" 2>/dev/null) in nsfs) ;; *) [ "$wrong" = any-netns ] || fail 8 'no namespace' ;; esac
        if inside ip link show "$CNI_IFNAME" >/dev/null 2>&1; then [ "$wrong" = takes-links ] || fail 5 'link exists'; fi
        [ -z "${LINKS-}" ] || inside ip tuntap add "$CNI_IFNAME" mode tap
        : >"$file" 2>/dev/null || fail 5 'cannot write'
        [ "$wrong" = logs-on-stdout ] && echo 'INFO adding'
        [ "$wrong" = version-fixed ] && version=1.0.0
        sandbox=$CNI_NETNS
        [ "$wrong" = without-sandbox ] && sandbox=
        extra=
        [ "$wrong" = newer-keys ] && extra=',"mtu":1500'
        echo "{\"cniVersion\":\"$version\",\"interfaces\":[{\"name\":\"$CNI_IFNAME\",\"sandbox\":\"$sandbox\"$extra}],\"ips\":[]}"
        ;;
    DEL)
        [ -e "$file" ] || [ "$wrong" != delete-fails-if-unknown ] || fail 3 'unknown'
        rm -f "$file"
        [ "$wrong" = prints-on-delete ] && echo '{}'
        [ -z "${LINKS-}" ] || [ "$wrong" = leaves-links ] || inside ip link delete "$CNI_IFNAME" >/dev/null 2>&1
        exit 0
        ;;
    CHECK) [ -e "$file" ] || [ "$wrong" = check-is-always-content ] || fail 110 'not there' ;;
esac
exit 0
