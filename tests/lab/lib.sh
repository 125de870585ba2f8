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
# A known fault of the emulator outside, not of what is tested: see docs/lab.md.
LAB_FAULT_STATUS=98
declare -A l2_pids=()

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

# l2_wait NAME SECONDS: waits for the VMM to end; its exit status. A guest that
# does not end is killed, and fails the case.
l2_wait() {
    local name=$1 pid=${l2_pids[$1]} end=$((SECONDS + $2 * PATIENCE))
    while kill -0 "$pid" 2>/dev/null; do
        if [ $SECONDS -ge $end ]; then
            vmm_threads "$name"
            kill -9 "$pid"
            fail "$name: did not end in $(($2 * PATIENCE)) s"
        fi
        sleep 0.2
    done
    wait "$pid"
}

# l2_line NAME PATTERN SECONDS: waits for a line on the guest's console.
l2_line() {
    local name=$1 end=$((SECONDS + $3 * PATIENCE)) status=0
    until grep -aqE -- "$2" "$RESULTS/$name.serial" 2>/dev/null; do
        if ! kill -0 "${l2_pids[$name]}" 2>/dev/null; then
            wait "${l2_pids[$name]}" || status=$?
            fail "$name: ended with status $status before '$2'"
        elif [ $SECONDS -ge $end ]; then
            vmm_threads "$name"
            fail "$name: no '$2' in $(($3 * PATIENCE)) s"
        fi
        sleep 0.2
    done
}

# l2_show NAME: the end of the guest's console and of the VMM's output.
l2_show() {
    sed 's/^/# vmm: /' "$RESULTS/$1.out" | tail -n 10
    tail -n 25 "$RESULTS/$1.serial" 2>/dev/null | tr -d '\r' |
        sed "s/^/# $1: /"
}

# lab_fault NAME: the guest's kernel died of something that no CPU does, so
# that neither the guest nor the VMM can be the cause (docs/lab.md says more):
# a breakpoint that is gone, or reserved bits of EFLAGS set.
EFLAGS_RESERVED=0xffc08028
lab_fault() {
    local flags
    if grep -aq 'int3: 0000' "$RESULTS/$1.serial" 2>/dev/null; then
        say "LAB FAULT: $1: a stale breakpoint"
        return 0
    fi
    for flags in $(grep -aoE 'EFLAGS: [0-9a-f]{8}' "$RESULTS/$1.serial" \
        2>/dev/null | cut -d' ' -f2); do
        if [ $((16#$flags & EFLAGS_RESERVED)) != 0 ]; then
            say "LAB FAULT: $1: EFLAGS $flags"
            return 0
        fi
    done
    return 1
}

# However a case fails: what its guests said last, and whether it was the lab.
at_exit() {
    local status=$? name
    trap - EXIT
    if [ $status = 0 ] || [ $status = $SKIP_STATUS ]; then
        exit $status
    fi
    for name in "${!l2_pids[@]}"; do
        l2_show "$name"
        if lab_fault "$name"; then
            status=$LAB_FAULT_STATUS
        fi
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
    timeout 60 gdb -batch -p "$pid" -ex 'thread apply all bt 16' \
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
    python3 /lab/payload/qmp.py "/tmp/$name.qmp" "$@"
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
