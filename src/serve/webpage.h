/* webpage.h - the web page's files, which lie inside the program. */
#ifndef SERVE_WEBPAGE_H
#define SERVE_WEBPAGE_H

struct page_file {
    const char *path;        /* as in a URL: "/", "/app.js" */
    const char *type;        /* for Content-Type */
    const char *begin, *end; /* its bytes, as long as the program runs */
};

/* The file at path, or NULL. Any thread. */
const struct page_file *page_find(const char *path);

#endif
