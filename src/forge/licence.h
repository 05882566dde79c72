/* licence.h - which licence a model is under, as far as its folder says. Judges nothing: a name is what
 * somebody declared. */
#ifndef FORGE_LICENCE_H
#define FORGE_LICENCE_H

#include <stddef.h>

/* The hub's identifiers: "mit", "apache-2.0", ... "other" is some licence whose name is not known, "" none
 * that is known of. */
struct licence {
    char id[64];
};

/* What the front matter of DIR/README.md says after "license:"; "" if it is not there. */
struct licence licence_declared(const char *dir);
/* MIT or Apache-2.0 by their own words, "other" for another text or for one that holds both. */
struct licence licence_of_text(const char *text, size_t len);
/* One that holds for parts under a and b alike: the same, or "other". */
struct licence licence_joined(struct licence a, struct licence b);

#endif
