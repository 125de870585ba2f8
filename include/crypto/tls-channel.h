/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * TLS on a byte channel.
 *
 * After the handshake the channel is used as before: one reader, one writer,
 * vm_channel_shutdown() by anybody. What was written when a write returns is
 * with the socket. vm_channel_end_writes() ends TLS properly; an end of the
 * stream without that is an error (-ECONNRESET), not an end of file: who cuts
 * a connection cannot make it look whole.
 *
 * Data-plane errors beside the channel's own: -ECONNRESET as above,
 * -ECONNABORTED: the peer ended TLS by an alert, -EBADMSG: what came is not
 * what the peer sent. vm_channel_explain() has the words.
 *
 * Threads: the handshake before the channel has a second thread.
 */
#ifndef VM_CRYPTO_TLS_CHANNEL_H
#define VM_CRYPTO_TLS_CHANNEL_H

#include <glib.h>
#include <stdbool.h>

#include "crypto/tls-creds.h"
#include "util/channel.h"

/*
 * Handshake, which ends at the channel's read deadline at the latest, or when
 * the channel is shut down. hostname: whom the certificate of a server must
 * name; may be NULL unless tls_creds_wants_hostname(). On failure the channel
 * is as it was, less what came and went; code EPROTONOSUPPORT: what the peer
 * sends is no TLS; ETIMEDOUT: the deadline.
 */
bool tls_channel_secure(VmChannel *ch, TlsCreds *creds, const char *hostname,
                        GError **errp);

#endif
