/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The relay: two threads, one a direction. See relay.h.
 */
#include "relay.h"

#include "util/clock.h"

#define DELAY_NS (3 * VM_NS_PER_MS)

static void tell_stall(Relay *r)
{
    vm_mutex_lock(&r->lock);
    r->stalled = true;
    vm_cond_broadcast(&r->cond);
    vm_mutex_unlock(&r->lock);
}

/* Nothing is read meanwhile: the sender finds its socket full. */
static void hold(Relay *r, int64_t ns)
{
    int64_t end_ns = vm_clock_ns() + ns;

    vm_mutex_lock(&r->lock);
    while (!r->released && vm_clock_ns() < end_ns) {
        (void)vm_cond_wait_ns(&r->cond, &r->lock, end_ns - vm_clock_ns());
    }
    vm_mutex_unlock(&r->lock);
}

static void discard(VmChannel *from)
{
    uint8_t buf[8192];

    while (vm_channel_read_some(from, buf, sizeof(buf)) > 0) {
    }
}

/* What was passed on has been. Returns whether the direction goes on. */
static bool do_harm(Direction *d)
{
    switch (d->harm) {
    case HARM_END:
        vm_channel_end_writes(d->to);
        discard(d->from);
        return false;
    case HARM_STALL:
        tell_stall(d->relay);
        hold(d->relay, INT64_MAX / 2);
        return false;
    case HARM_DELAY:
        hold(d->relay, DELAY_NS);
        return true;
    case HARM_CUT:
        return false;
    default:
        return true;
    }
}

static bool pass_on(Direction *d, const uint8_t *bytes, size_t len)
{
    if (d->record) {
        g_byte_array_append(d->record, bytes, (guint)len);
    }
    d->bytes += len;
    return len == 0 || vm_channel_write_full(d->to, bytes, len) == 0;
}

static void direction_run(void *arg)
{
    Direction *d = arg;
    uint8_t buf[8192];
    ssize_t n;
    bool ok = true;

    while (ok && (n = vm_channel_read_some(d->from, buf, sizeof(buf))) > 0) {
        size_t len = (size_t)n, before = len;
        bool hit = d->harm != HARM_NONE && d->harm_at >= d->bytes &&
                   d->harm_at < d->bytes + len;

        if (hit && d->harm == HARM_FLIP) {
            buf[d->harm_at - d->bytes] ^= d->flip;
        } else if (hit) {
            before = (size_t)(d->harm_at - d->bytes);
        }
        ok = pass_on(d, buf, before);
        if (ok && hit) {
            ok = do_harm(d) && pass_on(d, buf + before, len - before);
        }
    }
    vm_channel_shutdown(d->to);
    vm_channel_shutdown(d->from);
}

static void relay_run(void *arg)
{
    Relay *r = arg;

    r->a = vm_listener_accept(r->listener, NULL);
    if (!r->a) {
        return;
    }
    r->b = vm_channel_connect(r->to_uri, -1, NULL);
    g_assert_nonnull(r->b);
    r->there.from = r->back.to = r->a;
    r->there.to = r->back.from = r->b;
    r->there.thread = vm_thread_new("relay-there", direction_run, &r->there);
    r->back.thread = vm_thread_new("relay-back", direction_run, &r->back);
}

Relay *relay_new(const char *listen_uri, const char *to_uri)
{
    Relay *r = g_new0(Relay, 1);

    r->listener = vm_listener_new(listen_uri, NULL);
    g_assert_nonnull(r->listener);
    r->to_uri = g_strdup(to_uri);
    r->there.relay = r->back.relay = r;
    r->there.flip = r->back.flip = 0x04;
    vm_mutex_init(&r->lock, VM_RANK_LEAF);
    vm_cond_init(&r->cond);
    return r;
}

void relay_start(Relay *r)
{
    r->thread = vm_thread_new("relay", relay_run, r);
}

void relay_wait_stall(Relay *r)
{
    vm_mutex_lock(&r->lock);
    while (!r->stalled) {
        vm_cond_wait(&r->cond, &r->lock);
    }
    vm_mutex_unlock(&r->lock);
}

void relay_release(Relay *r)
{
    vm_mutex_lock(&r->lock);
    r->released = true;
    vm_cond_broadcast(&r->cond);
    vm_mutex_unlock(&r->lock);
}

void relay_join(Relay *r)
{
    vm_listener_shutdown(r->listener);
    vm_thread_join(r->thread);
    if (r->there.thread) {
        vm_thread_join(r->there.thread);
        vm_thread_join(r->back.thread);
    }
}

void relay_free(Relay *r)
{
    vm_listener_free(r->listener);
    vm_channel_free(r->a);
    vm_channel_free(r->b);
    g_clear_pointer(&r->there.record, g_byte_array_unref);
    g_clear_pointer(&r->back.record, g_byte_array_unref);
    vm_cond_done(&r->cond);
    vm_mutex_done(&r->lock);
    g_free(r->to_uri);
    g_free(r);
}
