/* json_type.h - the types that JSON schemas name, as bits of a set. */
#ifndef TEXT_JSON_TYPE_H
#define TEXT_JSON_TYPE_H

enum json_schema_type {
    TYPE_NULL = 1,
    TYPE_BOOLEAN = 2,
    TYPE_INTEGER = 4,
    TYPE_NUMBER = 8,
    TYPE_STRING = 16,
    TYPE_ARRAY = 32,
    TYPE_OBJECT = 64,
    TYPE_ANY = 127 - TYPE_INTEGER, /* integers are numbers */
    TYPE_OTHER = 128               /* a name that is none of these */
};

#endif
