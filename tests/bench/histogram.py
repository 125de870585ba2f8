# SPDX-License-Identifier: GPL-2.0-or-later
"""Histograms of times in nanoseconds: of the guest's clock and the engine's.

A histogram is a sorted list of (low, high, count): count times at or above
low and below high.
"""
FAULT_NS = 10000  # an access that takes longer has met a fault
SUB_BITS = 4  # of tests/guest/hist.h
SUB = 1 << SUB_BITS


def guest_bucket(index):
    """[low, high) of a bucket of tests/guest/hist.h, in TSC ticks."""
    if index < SUB:
        return index, index + 1
    shift = index // SUB - 1
    low = (SUB + index % SUB) << shift
    return low, low + (1 << shift)


def from_guest(text, mhz):
    """From "index:count ..." as the guest prints it."""
    out = []
    for word in text.split():
        index, count = word.split(':')
        low, high = guest_bucket(int(index))
        out.append((low * 1000 / mhz, high * 1000 / mhz, int(count)))
    return out


def from_engine(now, before=()):
    """From the fault-latency of query-vmemdirect, less an earlier one. The
    last bucket is taken to be as wide as its start."""
    earlier = {b['from-ns']: b['count'] for b in before}
    out = []
    for bucket, following in zip(now, now[1:] + [None]):
        low = bucket['from-ns']
        high = following['from-ns'] if following else low * 2
        count = bucket['count'] - earlier.get(low, 0)
        if count:
            out.append((low, high, count))
    return out


def merge(histograms):
    counts = {}
    for histogram in histograms:
        for low, high, count in histogram:
            counts[low, high] = counts.get((low, high), 0) + count
    return [(low, high, count) for (low, high), count in
            sorted(counts.items())]


def above(histogram, floor):
    """The buckets that begin at or above floor."""
    return [bucket for bucket in histogram if bucket[0] >= floor]


def total(histogram):
    return sum(count for _, _, count in histogram)


def percentile(histogram, percent):
    """Linear within the bucket; None without values."""
    left = total(histogram) * percent / 100
    for low, high, count in histogram:
        if left <= count:
            return low + (high - low) * left / count
        left -= count
    return histogram[-1][1] if histogram else None
