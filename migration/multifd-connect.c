/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The source's further connections (docs/migration-format.md, 4.7).
 *
 * Each is attached to the first before its handshake, so that a cancel cuts
 * it as well.
 *
 * Threads: the source's thread.
 */
#include "multifd-connect.h"

#include <string.h>

#include "util/error.h"

bool mig_multifd_secure(Migration *m, MigLink *l, GError **errp)
{
    g_autofree char *host = m->tls_hostname
                                ? g_strdup(m->tls_hostname)
                                : vm_channel_address_host(m->address);
    bool ok;

    mig_stream_set_deadline(l->s, vm_clock_ns() + m->waits.welcome_ns);
    ok = !m->tls_creds || mig_link_secure(l, m->tls_creds, host, errp);
    mig_stream_set_deadline(l->s, 0);
    return ok;
}

static bool say_who(MigStream *s, const uint8_t *token, unsigned index,
                    GError **errp)
{
    MigWireChannel body = { .index = index };
    int err;

    memcpy(body.token, token, sizeof(body.token));
    err = mig_stream_write_body(s, MIG_REC_CHANNEL, 0, &body, sizeof(body));
    return err == 0 || mig_stream_send_error(err, errp);
}

static bool connect_one(Migration *m, MigStream *trunk, const uint8_t *token,
                        GPtrArray *channels, GError **errp)
{
    unsigned index = channels->len;
    MigLink link = { NULL };

    if (!mig_link_open(&link, m->address, /* incoming= */ false, m->cancel_fd,
                       errp)) {
        return false;
    }
    vm_channel_set_write_limit(mig_stream_channel(link.s), m->waits.write_ns);
    mig_stream_attach(trunk, link.s);
    g_ptr_array_add(channels, link.s);
    return mig_multifd_secure(m, &link, errp) &&
           say_who(link.s, token, index, errp);
}

bool mig_multifd_connect(Migration *m, MigStream *trunk,
                         const uint8_t token[MIG_TOKEN_BYTES], unsigned count,
                         GPtrArray *channels, GError **errp)
{
    for (unsigned i = 0; i < count; i++) {
        if (!connect_one(m, trunk, token, channels, errp)) {
            g_prefix_error(errp, "connection %u of %u: ", i + 1, count);
            return false;
        }
    }
    return true;
}
