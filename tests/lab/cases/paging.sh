# lab: hosts=1 mem=1536 cpus=2 data=1024 timeout=900 tags=ci
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Linux with two CPUs and half of its RAM as its budget, swap on NVMe: a memory
# test over most of the RAM finds no wrong byte (memcheck, then stress-ng), and
# the VMM's process stays within the budget.

. ./memory.sh
data_mount
memory_guest paging
memory_vmm paging
l2_start paging 6.12 "l2_memcheck=mib=$TEST_MIB,hot=64,secs=25,jobs=2 \
l2_then=stress l2_stress=${TEST_MIB}M" "${memory_args[@]}"
rss_watch paging
l2_line paging '^MEMCHECK done .*bad=0' 200
if [ "$VMM_KIND" = ours ]; then
    stats=$(qmp paging query-vmemdirect)
    echo "$stats" >"$RESULTS/vmemdirect.json"
    hard=$(json faults-hard <<<"$stats")
    swapped=$(json swapped-bytes <<<"$stats")
    say "hard faults $hard, swapped $((swapped >> 20)) MiB, paged in" \
        "$(($(json page-in-bytes <<<"$stats") >> 20)) MiB, out" \
        "$(($(json page-out-bytes <<<"$stats") >> 20)) MiB"
    [ "$hard" -gt 0 ] && [ "$swapped" -gt 0 ] || fail "nothing was paged"
fi
l2_finish paging 90
memory_report paging
memory_rss paging
grep -aq '^L2 stress-ng ok' "$RESULTS/paging.serial" || fail "no stress-ng"
