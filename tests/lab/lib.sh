# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
#
# What the lab's cases have in common. Sourced by the case runner (./batch), in
# a lab host, before a case; the case runs with `set -e`.
#
# All time limits are multiplied by $PATIENCE.
#   $VMM       the emulator under test      $VMM_KIND  ours or stock
#   $RESULTS   directory whose content comes out of the lab (small files)
#   $DATA      an empty ext4 on the host's NVMe data drive; data_mount first
#   $L2        directory with the guests' kernels and initramfs

L2=/lab/l2
DATA=/lab/data
SKIP_STATUS=77
declare -A l2_pids=() l2_status=()

say() {
    echo "# $*"
}

fail() {
    say "FAIL: $*"
    exit 1
}

skip() {
    say "SKIP: $*"
    exit $SKIP_STATUS
}

need_ours() {
    [ "$VMM_KIND" = ours ] || skip "stock QEMU has no -vmemdirect"
}

# data_mount: makes a file system on the data drive, and mounts it on $DATA.
data_mount() {
    mkfs.ext4 -q -F -E lazy_itable_init=1 "$LAB_DATA"
    mount "$LAB_DATA" $DATA
}

# l2_initrd NAME <SCRIPT: an initramfs which runs SCRIPT (busybox sh).
l2_initrd() {
    local tree
    tree=$(mktemp -d)
    cat >"$tree/run.sh"
    python3 /lab/payload/mkcpio.py "$tree" | cat $L2/l2.cpio - \
        >"/tmp/$1.initrd"
    rm -r "$tree"
}

# l2_start NAME KERNEL APPEND [ARGUMENT...]: starts a guest with the initramfs
# NAME (or ${l2_initrd_name}), in the background. Its serial console is
# $RESULTS/NAME.serial, its QMP socket /tmp/NAME.qmp. vmm_start: no kernel.
l2_start() {
    local name=$1 kernel=$2 append=$3
    shift 3
    vmm_start "$name" -kernel "$L2/vmlinuz-$kernel" \
        -initrd "/tmp/${l2_initrd_name:-$name}.initrd" -append \
        "console=ttyS0 quiet panic=-1 mitigations=off $append" "$@"
}

vmm_start() {
    local name=$1
    shift
    printf '%q ' "$VMM" "$@" >"$RESULTS/$name.command"
    "$VMM" -accel kvm -cpu host -nodefaults -display none \
        -serial "file:$RESULTS/$name.serial" \
        -qmp "unix:/tmp/$name.qmp,server=on,wait=off" "$@" \
        >"$RESULTS/$name.out" 2>&1 &
    l2_pids[$name]=$!
}

# l2_ended NAME: whether the VMM has ended; if so, ${l2_status[NAME]} is its
# exit status. In the case's own shell only: no other can wait for it.
l2_ended() {
    local status=0
    [ -z "${l2_status[$1]:-}" ] || return 0
    ! kill -0 "${l2_pids[$1]}" 2>/dev/null || return 1
    wait "${l2_pids[$1]}" || status=$?
    l2_status[$1]=$status
}

# l2_how NAME: how it ended, in words; as of the last l2_ended.
l2_how() {
    local status=${l2_status[$1]:-} signal
    if [ -z "$status" ]; then
        echo "runs"
    elif [ "$status" -gt 128 ] &&
        signal=$(kill -l $((status - 128)) 2>/dev/null); then
        echo "ended by SIG$signal"
    else
        echo "ended with status $status"
    fi
}

# l2_spoke NAME: whether its console may have grown since this was last asked.
# Times of files, since processes are slow here.
l2_spoke() {
    local console=$RESULTS/$1.serial seen=/tmp/$1.seen
    [ -e "$console" ] || return 1
    [ ! "$seen" -nt "$console" ] || return 1
    : >"$seen"
}

# The time limits of the two below are for a guest that is silent. One that goes
# on writing is slow, like the machine around the lab: the case's own limit is
# for that.

# l2_wait NAME SECONDS: waits for the VMM to end; its exit status. One that does
# not end fails the case.
l2_wait() {
    local name=$1 limit=$(($2 * PATIENCE)) since=$SECONDS
    until l2_ended "$name"; do
        ! l2_spoke "$name" || since=$SECONDS
        if [ $((SECONDS - since)) -ge $limit ]; then
            vmm_threads "$name"
            fail "$name: did not end, and was silent for $limit s"
        fi
        sleep 0.2
    done
    return "${l2_status[$name]}"
}

# l2_line NAME PATTERN SECONDS: waits for a line on the guest's console.
l2_line() {
    local name=$1 limit=$(($3 * PATIENCE)) since ended=no
    until grep -aqE -- "$2" "$RESULTS/$name.serial" 2>/dev/null; do
        [ $ended = no ] || fail "$name: $(l2_how "$name") before '$2'"
        since=$SECONDS
        sleep 0.2
        until l2_spoke "$name" || l2_ended "$name"; do
            if [ $((SECONDS - since)) -ge $limit ]; then
                vmm_threads "$name"
                fail "$name: no '$2', and silent for $limit s"
            fi
            sleep 0.2
        done
        ! l2_ended "$name" || ended=yes
    done
}

# l2_show NAME: the end of the VMM's output and of the guest's console.
l2_show() {
    tail -n 10 "$RESULTS/$1.out" | sed "s/^/# $1: stderr: /"
    tail -n 25 "$RESULTS/$1.serial" 2>/dev/null | tr -d '\r' |
        sed "s/^/# $1: /"
}

# However a case fails: how its VMMs fared, and what they and their guests said
# last.
at_exit() {
    local status=$? name
    trap - EXIT
    if [ $status = 0 ] || [ $status = $SKIP_STATUS ]; then
        exit $status
    fi
    for name in "${!l2_pids[@]}"; do
        if ! l2_ended "$name" && [ $status = 124 ]; then
            vmm_threads "$name"
        fi
        say "$name: the VMM $(l2_how "$name")"
        l2_show "$name"
    done
    exit $status
}
trap at_exit EXIT
trap 'exit 124' TERM

# vmm_threads NAME: where the VMM's threads are, into $RESULTS/NAME.threads.
vmm_threads() {
    local pid=${l2_pids[$1]} task
    for task in "/proc/$pid"/task/*; do
        echo "$(cat "$task/comm") $(cat "$task/wchan")" \
            "$(cut -d' ' -f3,14,15 "$task/stat")"
    done >"$RESULTS/$1.threads" 2>/dev/null || true
    timeout 30 gdb -batch -p "$pid" -ex 'thread apply all bt 16' \
        >>"$RESULTS/$1.threads" 2>&1 || true
    say "threads: see $1.threads"
}

# l2_finish NAME SECONDS: the guest's script ended well, and so did the VMM.
l2_finish() {
    local status=0
    l2_wait "$1" "$2" || status=$?
    if ! grep -aq '^L2 exit 0' "$RESULTS/$1.serial"; then
        fail "$1: the guest's script did not end well"
    elif [ $status != 0 ]; then
        fail "$1: the VMM's exit status is $status"
    fi
}

# qmp NAME COMMAND [JSON] | qmp NAME --wait COMMAND KEY=VALUE SECONDS
qmp() {
    local name=$1
    shift
    python3 /lab/payload/qmp.py "/tmp/$name.qmp" "${l2_pids[$name]}" "$@"
}

# json MEMBER[.MEMBER...] <JSON: that member.
json() {
    python3 -c 'import functools, json, sys
print(functools.reduce(lambda o, k: o[k], sys.argv[1].split("."),
                       json.load(sys.stdin)))' "$1"
}

# rss_kib NAME: resident memory of the VMM's process, from outside it.
rss_kib() {
    awk '/^VmRSS/ { print $2 }' "/proc/${l2_pids[$1]}/status"
}

# rss_watch NAME: samples it until the process ends, the largest in
# $RESULTS/NAME.rss-kib. In the background.
rss_watch() {
    local name=$1 now max=0
    (
        while now=$(rss_kib "$name" 2>/dev/null) && [ -n "$now" ]; do
            if [ "$now" -gt $max ]; then
                max=$now
                echo $max >"$RESULTS/$name.rss-kib"
            fi
            sleep 0.5
        done
    ) &
}
