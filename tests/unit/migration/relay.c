/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The relay: two threads, one a direction. See relay.h.
 */
#include "relay.h"

static void direction_run(void *arg)
{
    Direction *d = arg;
    uint8_t buf[8192];
    ssize_t n;

    while ((n = vm_channel_read_some(d->from, buf, sizeof(buf))) > 0) {
        bool hit = d->harm != HARM_NONE && d->harm_at < d->bytes + (size_t)n;
        size_t len = (size_t)n;

        if (hit && d->harm == HARM_CUT) {
            len = (size_t)(d->harm_at - d->bytes);
        } else if (hit && d->harm_at >= d->bytes) {
            buf[d->harm_at - d->bytes] ^= 0x04;
        }
        if (d->record) {
            g_byte_array_append(d->record, buf, (guint)len);
        }
        if (len && vm_channel_write_full(d->to, buf, len) < 0) {
            break;
        }
        d->bytes += len;
        if (hit && d->harm == HARM_CUT) {
            /* What was passed on is still read; then the end. */
            vm_channel_shutdown(d->from);
            break;
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
    return r;
}

void relay_start(Relay *r)
{
    r->thread = vm_thread_new("relay", relay_run, r);
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
    g_free(r->to_uri);
    g_free(r);
}
