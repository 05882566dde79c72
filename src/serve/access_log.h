/* access_log.h - one line for each request that is over. Any thread. */
#ifndef SERVE_ACCESS_LOG_H
#define SERVE_ACCESS_LOG_H

#include "base/err.h"

struct access_log;

/* path NULL = standard error. json: a JSON object a line, else words. */
bool access_log_open(struct access_log **ret, const char *path, bool json, struct alula_error *e);
void access_log_close(struct access_log *log);
/* Opens the file anew, for whoever moves logs away. On failure the old one stays. */
bool access_log_reopen(struct access_log *log, struct alula_error *e);

struct access_line {
    const char *id, *client, *method, *path;
    int status; /* 0: the client left before there was one */
    uint64_t bytes;
    double seconds;
};
void access_log_write(struct access_log *log, const struct access_line *line);

#endif
