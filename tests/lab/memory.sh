# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
#
# What the cases of paged guests have in common. Sourced after lib.sh.

# A guest of RAM_MIB with half of it as its budget, and what its test writes:
# all but what the kernel needs.
RAM_MIB=448
BUDGET_MIB=224
TEST_MIB=320
# The VMM's own memory, beside the budget.
OWN_MIB=64

# memory_vmm NAME: sets memory_args, the arguments of one VMM. Stock QEMU
# stands in without paging.
memory_vmm() {
    memory_args=(-M q35 -m $RAM_MIB -smp 2 -no-reboot)
    if [ "$VMM_KIND" = ours ]; then
        memory_args+=(-vmemdirect
            "swap=$DATA/$1.swap,memory=${BUDGET_MIB}M")
    fi
}

# memory_guest NAME: an initramfs NAME with a guest that runs memcheck as
# l2_memcheck says (comma separated), and then the command in l2_then.
memory_guest() {
    l2_initrd "$1" <<'GUEST'
memcheck $(echo "$l2_memcheck" | tr , ' ') || exit 1
case $l2_then in
    stress) stress-ng --quiet --vm 2 --vm-bytes "$l2_stress" \
        --vm-method rand-set --vm-keep --verify -t 15 || exit 1
        echo "L2 stress-ng ok" ;;
esac
GUEST
}

# memory_report NAME: the lines a person wants to see.
memory_report() {
    tr -d '\r' <"$RESULTS/$1.serial" | awk -v name="$1" '
        /^MEMCHECK (filled|bad|done)/ { print "# " name ": " $0 }
        /^MEMCHECK gap/ {
            split($3, gap, "=")
            if (gap[2] > longest) longest = gap[2]
        }
        END { print "# " name ": longest gap " longest + 0 " ms" }'
}

# memory_rss NAME: the process has never been larger than it may be.
memory_rss() {
    local limit=$(((BUDGET_MIB + OWN_MIB) * 1024)) rss
    rss=$(cat "$RESULTS/$1.rss-kib")
    say "$1: RSS at most $rss KiB, allowed $limit KiB"
    [ "$VMM_KIND" = stock ] || [ "$rss" -le $limit ] ||
        fail "$1: $rss KiB resident"
}

# memory_move FROM TO URI: migrates the guest of one VMM to another, which
# listens there already and pages nothing meanwhile. The first one is then gone.
memory_move() {
    local info
    qmp "$2" query-status >/dev/null
    qmp "$1" migrate-set-parameters \
        '{"max-bandwidth": 1073741824, "downtime-limit": 1000}' >/dev/null
    qmp "$1" migrate "{\"uri\": \"$3\"}" >/dev/null
    info=$(qmp "$1" --wait query-migrate \
        'status=completed|failed|cancelled' 90)
    echo "$info" >"$RESULTS/$1-to-$2.json"
    [ "$(json status <<<"$info")" = completed ] ||
        fail "$1 to $2: $info"
    say "$1 to $2 ($3): total $(json total-time <<<"$info") ms," \
        "downtime $(json downtime <<<"$info") ms," \
        "$(($(json ram.transferred <<<"$info") >> 20)) MiB"
    info=$(qmp "$2" --wait query-migrate status=completed 30)
    echo "$info" >"$RESULTS/$2-from-$1.json"
    if [ "$VMM_KIND" = ours ]; then
        [ "$(json vmemdirect.pages-in <<<"$info")" = 0 ] &&
            [ "$(json vmemdirect.pages-out <<<"$info")" = 0 ] ||
            fail "$2: arriving paged: $info"
    fi
    qmp "$2" --wait query-status status=running 30 >/dev/null
    qmp "$1" quit >/dev/null
    l2_wait "$1" 20 || fail "$1: status $? at quit"
}
