/* licence.c - reads names of licences out of front matter and licence texts. Knows the two that models of
 * this family come under. */
#include "forge/licence.h"

#include <stdio.h>
#include <string.h>

#include "base/file.h"

#define README_MAX (16u << 20)

struct licence licence_declared(const char *dir)
{
    struct licence ret = {""};
    char path[4096];
    struct buf b;
    struct alula_error ignored;
    buf_init(&b, README_MAX);
    if (path_join(path, sizeof path, dir, "README.md", &ignored) && file_exists(path) &&
        file_read(path, 0, &b, &ignored) && b.len && !strncmp(b.data, "---\n", 4)) {
        for (const char *line = b.data + 4; line && strncmp(line, "---", 3);) {
            char value[sizeof ret.id];
            if (sscanf(line, "license: %*[\"'] %63[A-Za-z0-9.+_-]", value) == 1 ||
                sscanf(line, "license: %63[A-Za-z0-9.+_-]", value) == 1)
                snprintf(ret.id, sizeof ret.id, "%s", value);
            line = strchr(line, '\n');
            if (line) line++;
        }
    }
    buf_free(&b);
    return ret;
}

struct licence licence_of_text(const char *text, size_t len)
{
    struct licence ret = {"other"};
    struct buf flat = {0};
    for (size_t i = 0; i < len && text[i]; i++) {
        bool space = strchr(" \t\r\n", text[i]);
        if (!space || (flat.len && flat.data[flat.len - 1] != ' '))
            buf_byte(&flat, space ? ' ' : (unsigned char)text[i]);
    }
    const char *words = flat.data ? flat.data : "";
    bool mit = strstr(words, "Permission is hereby granted, free of charge, to any person obtaining a copy");
    bool apache = strstr(words, "Apache License Version 2.0, January 2004");
    if (mit != apache) snprintf(ret.id, sizeof ret.id, "%s", mit ? "mit" : "apache-2.0");
    buf_free(&flat);
    return ret;
}

struct licence licence_joined(struct licence a, struct licence b)
{
    if (!strcmp(a.id, b.id)) return a;
    return (struct licence){"other"};
}
