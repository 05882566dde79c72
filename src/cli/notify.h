/* notify.h - telling systemd how a service is (the protocol of sd_notify). */
#ifndef CLI_NOTIFY_H
#define CLI_NOTIFY_H

/* Sends one state, "READY=1" or "STOPPING=1", to the socket that NOTIFY_SOCKET names. That variable is the protocol's
 * address, set by the service manager, not a switch of alula's. Without it, and on any failure, nothing happens. */
void notify_manager(const char *state);

#endif
