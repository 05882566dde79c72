/* jinja_internal.h - what the parts of the Jinja interpreter share: values, the tree, one rendering's
 * state.
 *
 * Read in this order: values (jinja_value.c), tree (jinja_parse.c, jinja_expr.c), run (jinja_eval.c,
 * jinja_exec.c). Every function that can fail returns false with run's error set; nothing here is freed
 * singly, all memory is one arena per template or per rendering. */
#ifndef TEXT_JINJA_INTERNAL_H
#define TEXT_JINJA_INTERNAL_H

#include "base/mem.h"
#include "text/jinja.h"

/* ---- memory -------------------------------------------------------------------------------------------- */

/* Small objects are cut from chunks of an arena, which aligns to 64 bytes. */
struct jj_mem {
    struct arena arena;
    char *next, *end;
};
/* Zeroed, aligned to 16; NULL when memory or the ceiling is reached. */
void *jj_mem_alloc(struct jj_mem *m, size_t n);
/* Says which of the two it was: "WHAT needs more than ..." Returns false. */
bool jj_mem_error(const struct jj_mem *m, size_t n, const char *what, struct alula_error *e);

/* ---- values -------------------------------------------------------------------------------------------- */

enum jj_kind {
    JJ_MISSING, /* no value at all: an argument that was not given */
    JJ_UNDEF,
    JJ_NONE,
    JJ_BOOL,
    JJ_INT,
    JJ_FLOAT,
    JJ_STR,
    JJ_LIST,
    JJ_TUPLE,
    JJ_DICT,
    JJ_VIEW, /* d.items(), d.keys(), d.values() */
    JJ_RANGE,
    JJ_ITER,  /* one-shot */
    JJ_SPACE, /* namespace() */
    JJ_MACRO,
    JJ_FUNC,
    JJ_METHOD, /* bound */
    JJ_LOOP,
    JJ_KINDS
};

/* Why a value is undefined, for the message. */
enum jj_why { JJ_NO_NAME, JJ_NO_ATTR, JJ_NO_ELEMENT, JJ_UNSAFE, JJ_PLAIN };
enum jj_view { JJ_ITEMS, JJ_KEYS, JJ_VALUES };

struct jj_value {
    uint8_t kind;
    uint8_t flag;  /* str: safe; int: the 64 bits are unsigned; undef: enum jj_why; view: enum jj_view */
    uint8_t owner; /* undef: kind of the value that lacks something */
    union {
        bool b;
        int64_t i; /* also undef of JJ_NO_ELEMENT: the index */
        double f;
        const struct jj_str *s; /* also undef: what is missing */
        const char *text;       /* undef of JJ_PLAIN: the message, or NULL */
        const struct jj_list *l;
        struct jj_dict *d; /* also namespace and view */
        const struct jj_range *r;
        struct jj_iter *it;
        const struct jj_macro *m;
        const struct jj_func *fn;
        const struct jj_method *me;
        struct jj_loop *lp;
    };
};

/* Where a block of growing bytes ends; lets `a = a + b` write behind a instead of copying it. */
struct jj_grow {
    char *end, *cap;
};

/* Valid UTF-8. p may point into the context text or the template. */
struct jj_str {
    const char *p;
    size_t n;
    size_t chars; /* code points; JJ_UNCOUNTED until asked for. Strings of the tree are counted when parsed */
    struct jj_grow *grow;
};
#define JJ_UNCOUNTED SIZE_MAX

struct jj_list {
    const struct jj_value *v;
    size_t n;
    struct jj_grow *grow;
};

struct jj_pair {
    struct jj_value key, value;
};
/* Keys in the order of insertion; above a few pairs there is a hash index. Written only while it is made,
 * or as a namespace. */
struct jj_dict {
    struct jj_pair *pairs;
    uint32_t n, cap;
    uint32_t *index; /* [n_index] place + 1, 0 = free; NULL for small ones */
    uint32_t n_index;
};

struct jj_range {
    int64_t start, step, n;
};

struct jj_macro {
    const struct jj_stmt *def;
    struct jj_scope *scope; /* where it was defined */
};

struct jj_method {
    const struct jj_func *fn;
    struct jj_value self;
};

/* ---- the tree ------------------------------------------------------------------------------------------ */

enum jj_expr_kind {
    JJ_X_CONST,
    JJ_X_NAME,
    JJ_X_HOLE, /* the text captured by a filter block or block set */
    JJ_X_LIST,
    JJ_X_TUPLE,
    JJ_X_DICT,
    JJ_X_NOT,
    JJ_X_NEG,
    JJ_X_POS,
    JJ_X_AND,
    JJ_X_OR,
    JJ_X_COND,
    JJ_X_COMPARE,
    JJ_X_BINARY,
    JJ_X_CONCAT,
    JJ_X_ATTR,
    JJ_X_ITEM,
    JJ_X_SLICE,
    JJ_X_CALL,
    JJ_X_FILTER,
    JJ_X_TEST
};

/* Operators of one character are that character. */
enum jj_op { JJ_OP_EQ = 256, JJ_OP_NE, JJ_OP_LE, JJ_OP_GE, JJ_OP_FLOOR, JJ_OP_POW, JJ_OP_IN, JJ_OP_NOT_IN };

struct jj_keyword {
    const struct jj_str *name;
    struct jj_expr *x;
};

struct jj_expr {
    uint8_t kind;
    bool negated; /* test: is not */
    uint16_t op;
    int line;
    const struct jj_str *name; /* name, attribute, filter, test */
    struct jj_expr *a, *b, *c; /* cond: condition, then, else or NULL; others: operands, object, callee */
    struct jj_expr *
        *list; /* [n] items, arguments, chained operands; slice: [3], NULL = left out; dict: [2n] */
    struct jj_keyword *kw;    /* [n_kw] named arguments */
    uint16_t *ops;            /* [n] compare: before each operand */
    const struct jj_func *fn; /* filter, test: NULL = unknown, an error once reached */
    uint32_t n, n_kw;
    struct jj_value constant;
};

/* name, name.attr, or a tuple of targets. */
struct jj_target {
    const struct jj_str *name, *attr;
    struct jj_target *items; /* [n] */
    uint32_t n;
};

enum jj_stmt_kind {
    JJ_S_TEXT,
    JJ_S_PRINT,
    JJ_S_IF,
    JJ_S_FOR,
    JJ_S_SET,
    JJ_S_SET_BLOCK,
    JJ_S_FILTER,
    JJ_S_SCOPE, /* generation */
    JJ_S_MACRO,
    JJ_S_BREAK,
    JJ_S_CONTINUE
};

struct jj_stmt {
    uint8_t kind;
    int line;
    struct jj_stmt *next;
    struct jj_expr
        *x; /* printed, condition (NULL = else), iterated, assigned, filters over the hole (NULL = none) */
    struct jj_expr *test; /* for: the filter or NULL */
    struct jj_target target;
    struct jj_stmt *body;
    struct jj_stmt *other;     /* if: the next branch, itself a JJ_S_IF; for: body of else */
    struct jj_keyword *params; /* [n_params] macro; x = default or NULL */
    uint32_t n_params;
    const char *text;
    size_t n_text;
};

struct jinja {
    struct jj_mem mem;
    char *name;
    struct jj_stmt *body;
    const struct jj_str *loop_name;
};

/* ---- parsing ------------------------------------------------------------------------------------------- */

enum jj_token { JJ_T_END, JJ_T_NAME, JJ_T_STR, JJ_T_NUMBER, JJ_T_OP };

struct jj_tok {
    enum jj_token kind;
    int op; /* JJ_T_OP */
    int line;
    const char *p; /* spelling, for names and messages */
    size_t n;
    struct jj_value value; /* strings and numbers */
};

/* jinja_lex.c: position in the source and the rules of white space around tags. */
struct jj_lex {
    struct jinja *j;
    struct alula_error *e;
    const char *src;
    size_t n, pos;
    int line, tag_line;
    bool line_start; /* the text that follows begins a line */
    bool in_print;   /* the open tag is {{ }} */
    bool in_raw;     /* the text that follows runs to endraw */
    char open[256];  /* brackets that wait for their end */
    int n_open;
};
/* What stands behind a piece of text: nothing, an open tag, or more text (a comment or raw lay between). */
enum jj_tag { JJ_TAG_NONE, JJ_TAG_PRINT, JJ_TAG_BLOCK, JJ_TAG_MORE };

bool jj_lex_init(struct jj_lex *x, struct jinja *j, const char *text, size_t n, struct alula_error *e);
bool jj_lex_text(struct jj_lex *x, const char **p, size_t *n, enum jj_tag *tag);
/* Next token of the open tag. JJ_T_END ends the tag and applies its white-space rule. */
bool jj_lex_token(struct jj_lex *x, struct jj_tok *t);
/* "NAME:LINE: ..." Returns false. */
bool jj_lex_fail(struct jj_lex *x, enum alula_code code, int line, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

bool jj_lex_no_memory(struct jj_lex *x, size_t n); /* for n bytes. Returns false */

struct jj_parser {
    struct jj_lex lex;
    struct jinja *j;
    struct jj_tok tok, ahead;
    bool has_ahead;
    int depth;                   /* of nested expressions and statements */
    int loops;                   /* open for loops that break may leave; a macro starts at 0 */
    int for_depth;               /* open for loops, also around macros: `loop` may not be set */
    struct jj_stmt *macro;       /* the innermost open macro */
    const struct jj_str **names; /* interned, open addressing, [n_slots] */
    uint32_t n_names, n_slots;
};
#define JJ_PARSE_DEPTH_MAX 200

/* jinja_parse.c */
void *jj_parse_alloc(struct jj_parser *p, size_t n);
const struct jj_str *jj_parse_intern(struct jj_parser *p, const char *s, size_t n);
bool jj_parse_fail(struct jj_parser *p, enum alula_code code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* "unexpected TOKEN, expected ..." Returns false. */
bool jj_parse_unexpected(struct jj_parser *p, const char *expected);
bool jj_parse_deeper(struct jj_parser *p); /* one level; pairs with p->depth-- when it returns true */
bool jj_parse_next(struct jj_parser *p);
bool jj_parse_look(struct jj_parser *p, struct jj_tok *ret);
bool jj_parse_is_op(const struct jj_parser *p, int op);
bool jj_parse_is_name(const struct jj_parser *p, const char *name);
bool jj_parse_expect_op(struct jj_parser *p, int op);
bool jj_parse_body(struct jinja *j, const char *text, size_t n, struct alula_error *e);
/* jinja_expr.c. All return NULL on error. */
struct jj_expr *jj_parse_expr(struct jj_parser *p, bool inline_if);
/* A tuple without brackets, or the one expression. */
struct jj_expr *jj_parse_tuple(struct jj_parser *p, bool inline_if);
/* '|' filters over hole; at: the current token is the first filter's name. */
struct jj_expr *jj_parse_filters(struct jj_parser *p, struct jj_expr *hole, bool at);
struct jj_expr *jj_parse_node(struct jj_parser *p, enum jj_expr_kind kind, int line);

/* ---- one rendering ------------------------------------------------------------------------------------- */

struct jj_var {
    const struct jj_str *name; /* interned: compared by address */
    struct jj_value v;
};
struct jj_scope {
    struct jj_scope *up;
    struct jj_var *vars;
    uint32_t n, cap;
    bool kept; /* a macro was defined here and may look back */
};

/* Places where text of the context is spelled like the markup that templates write. */
struct jj_marks {
    /* True if markup begins at text, or might if text went on. NULL = nothing is marked. */
    bool (*is_markup)(const void *arg, const char *text, size_t n);
    const void *arg;
    const char **set; /* [n_slots], open addressing, NULL = free */
    uint32_t n, n_slots;
    size_t *out; /* [n_out] in the output, ascending */
    size_t n_out, cap_out;
    bool first[256]; /* the bytes that stand there */
};

struct jj_run {
    const struct jinja *j;
    struct jj_mem mem;
    struct buf *out; /* output, and above it text that is being captured or built */
    size_t out_base; /* length of out before */
    struct alula_error *e;
    int64_t now;
    int64_t steps;
    int line, depth;
    struct jj_scope *scope;
    struct jj_scope *spare; /* scopes to use again, linked by up */
    struct jj_dict *context;
    struct jj_value hole; /* text for JJ_X_HOLE */
    struct jj_marks marks;
};
#define JJ_DEPTH_MAX       1000    /* of everything that recurses, macro calls included */
#define JJ_VALUE_DEPTH_MAX 200     /* of lists in lists */
#define JJ_ITEMS_MAX       1000000 /* of one list or dict */

void jj_run_begin(struct jj_run *r, const struct jinja *j, int64_t now, struct buf *out,
                  struct alula_error *e);
/* Renders with the members of context as variables; after an error out is as it was. */
bool jj_run_template(struct jj_run *r, struct jj_dict *context);
void jj_run_end(struct jj_run *r);

bool jj_fail(struct jj_run *r, enum alula_code code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
bool jj_unsupported(struct jj_run *r, const char *what);
bool jj_step(struct jj_run *r, size_t n);
bool jj_enter(struct jj_run *r); /* one level deeper; pairs with r->depth-- when it returns true */
void *jj_alloc(struct jj_run *r, size_t n);
void *jj_array(struct jj_run *r, size_t count, size_t size);

/* ---- making values (jinja_value.c) --------------------------------------------------------------------- */

static inline struct jj_value jj_none(void) { return (struct jj_value){.kind = JJ_NONE}; }
static inline struct jj_value jj_bool(bool b) { return (struct jj_value){.kind = JJ_BOOL, .b = b}; }
static inline struct jj_value jj_float(double f) { return (struct jj_value){.kind = JJ_FLOAT, .f = f}; }
static inline struct jj_value jj_int(int64_t i) { return (struct jj_value){.kind = JJ_INT, .i = i}; }
static inline struct jj_value jj_of_str(const struct jj_str *s)
{
    return (struct jj_value){.kind = JJ_STR, .s = s};
}
static inline struct jj_value jj_of_list(const struct jj_list *l)
{
    return (struct jj_value){.kind = JJ_LIST, .l = l};
}
static inline struct jj_value jj_of_dict(struct jj_dict *d)
{
    return (struct jj_value){.kind = JJ_DICT, .d = d};
}
static inline bool jj_is_safe(struct jj_value v) { return v.kind == JJ_STR && v.flag; }
struct jj_value jj_plain_undef(const char *message); /* message: a literal's address is kept */

/* The bytes are not copied. */
bool jj_str_view(struct jj_run *r, const char *p, size_t n, struct jj_value *ret);
bool jj_str_copy(struct jj_run *r, const char *p, size_t n, struct jj_value *ret);
/* a followed by n bytes. */
bool jj_str_append(struct jj_run *r, const struct jj_str *a, const char *p, size_t n, struct jj_value *ret);
bool jj_list_append(struct jj_run *r, const struct jj_list *a, const struct jj_list *b, struct jj_value *ret);
bool jj_str_count(struct jj_run *r, const struct jj_str *s); /* makes s->chars known */
size_t jj_count_chars(const char *p, size_t n);
bool jj_str_is(const struct jj_str *s, const char *literal);
uint64_t jj_hash_bytes(const char *p, size_t n);

/* A list that grows while it is made. */
struct jj_items {
    struct jj_value *v;
    size_t n, cap;
};
bool jj_items_add(struct jj_run *r, struct jj_items *a, struct jj_value v);
bool jj_items_list(struct jj_run *r, const struct jj_items *a, enum jj_kind kind, struct jj_value *ret);
bool jj_pair_tuple(struct jj_run *r, struct jj_value a, struct jj_value b, struct jj_value *ret);

struct jj_dict *jj_dict_new(struct jj_run *r);
/* A repeated key keeps its place and takes the new value. Refuses kinds that cannot be keys. */
bool jj_dict_set(struct jj_run *r, struct jj_dict *d, struct jj_value key, struct jj_value v);
/* Adds in front of all others; the key must be new. */
bool jj_dict_set_first(struct jj_run *r, struct jj_dict *d, struct jj_value key, struct jj_value v);
bool jj_dict_find(const struct jj_dict *d, struct jj_value key, struct jj_value *ret);
bool jj_dict_find_str(const struct jj_dict *d, const char *key, struct jj_value *ret);
void jj_dict_remove(struct jj_dict *d, const char *key);
void jj_dict_remove_none(struct jj_dict *d); /* all whose value is none */
bool jj_is_key(struct jj_value v);
bool jj_key_step(struct jj_run *r, struct jj_value key); /* the price of looking a key up */

/* ---- comparing and calculating (jinja_compare.c, jinja_number.c) --------------------------------------- */

bool jj_truth(struct jj_value v);
bool jj_equal(struct jj_run *r, struct jj_value a, struct jj_value b, bool *ret);
/* Keys only; never fails. */
bool jj_key_equal(struct jj_value a, struct jj_value b);
bool jj_order(struct jj_run *r, struct jj_value a, struct jj_value b, const char *op, int *ret);
bool jj_compare(struct jj_run *r, int op, struct jj_value a, struct jj_value b, bool *ret);
/* Stable; keys[i] orders items[i]; both are rearranged. */
bool jj_sort(struct jj_run *r, struct jj_value *items, struct jj_value *keys, size_t n, bool reverse);

bool jj_is_number(struct jj_value v); /* bools count */
bool jj_is_int(struct jj_value v);    /* bools count */
__int128 jj_int128(struct jj_value v);
double jj_to_double(struct jj_value v);
bool jj_from_int128(struct jj_run *r, __int128 i, struct jj_value *ret);
int jj_number_order(struct jj_value a, struct jj_value b); /* -1 0 1, 2 = not ordered */
uint64_t jj_number_hash(struct jj_value v);
bool jj_binary(struct jj_run *r, int op, struct jj_value a, struct jj_value b, struct jj_value *ret);
bool jj_negate(struct jj_run *r, struct jj_value a, bool minus, struct jj_value *ret);
/* Python's float(text), white space and underscores allowed; false = not a number. */
bool jj_parse_float(const char *p, size_t n, double *ret);
/* Decimal digits with sign and underscores, exactly; false = not an integer; *fits false = over 64 bits. */
bool jj_parse_int(const char *p, size_t n, struct jj_value *ret, bool *fits);

/* ---- text (jinja_text.c, jinja_json.c) ----------------------------------------------------------------- */

/* Text is built on top of run's out buffer: mark, put ..., take. */
bool jj_put(struct jj_run *r, const char *p, size_t n);
bool jj_put_str(struct jj_run *r, const char *literal);
bool jj_take(struct jj_run *r, size_t mark, struct jj_value *ret);
bool jj_put_text(struct jj_run *r, struct jj_value v);          /* str(v) */
bool jj_put_escaped(struct jj_run *r, const char *p, size_t n); /* HTML */
bool jj_text_of(struct jj_run *r, struct jj_value v,
                struct jj_value *ret);       /* str(v) as a value; a str stays itself */
const char *jj_kind_name(struct jj_value v); /* Python's: 'dict', 'NoneType' */
/* The message of an undefined value: "'x' is undefined". Returns false. */
bool jj_fail_undef(struct jj_run *r, struct jj_value v);

struct jj_json_style {
    bool ascii, sort;
    bool pretty;        /* a line for each item */
    const char *indent; /* [indent_n] per level */
    size_t indent_n;
    const char *item, *key; /* separators, [item_n], [key_n] */
    size_t item_n, key_n;
};
bool jj_put_json(struct jj_run *r, struct jj_value v, const struct jj_json_style *style);
/* Reads one JSON value. Strings without escapes point into text, which must outlive the run. what names
 * the text in errors. */
bool jj_json_read(struct jj_run *r, const char *text, size_t n, const char *what, struct jj_value *ret);

/* ---- marks (jinja_marks.c) ----------------------------------------------------------------------------- */

bool jj_marks_find(struct jj_run *r, const char *p, size_t n);                     /* in text from outside */
bool jj_marks_carry(struct jj_run *r, const char *to, const char *from, size_t n); /* n bytes were copied */
bool jj_marks_put(struct jj_run *r, const char *p, size_t n); /* they are the last n bytes of the output */
void jj_marks_cut(struct jj_run *r, size_t len);              /* the output ends there now */
/* The output from `begin` on was made of a text, but not as a copy. */
bool jj_marks_spread(struct jj_run *r, const struct jj_str *from, size_t begin);

/* ---- strings (jinja_str.c, jinja_case.c) --------------------------------------------------------------- */

bool jj_is_space(uint32_t cp);
/* White space at the start and at the end of text, in bytes. */
size_t jj_space_before(const char *p, size_t n);
size_t jj_space_after(const char *p, size_t n);
size_t jj_find(const char *p, size_t n, const char *what, size_t m); /* SIZE_MAX = absent */
size_t jj_char_offset(const struct jj_str *s,
                      size_t index); /* byte where code point `index` begins; s is counted */
bool jj_str_slice(struct jj_run *r, const struct jj_str *s, size_t first, size_t count, struct jj_value *ret);
bool jj_str_replace(struct jj_run *r, const struct jj_str *s, const struct jj_str *a, const struct jj_str *b,
                    int64_t count, struct jj_value *ret);
bool jj_str_strip(struct jj_run *r, struct jj_value s, struct jj_value chars, bool left, bool right,
                  struct jj_value *ret);
bool jj_str_reverse(struct jj_run *r, struct jj_value s, struct jj_value *ret);
/* End of the line that begins at p, and of its line break. */
void jj_line_end(const char *p, size_t n, size_t *text_n, size_t *line_n);

enum jj_case { JJ_UPPER, JJ_LOWER, JJ_CAPITALIZE, JJ_TITLE_METHOD, JJ_TITLE_FILTER };
bool jj_str_case(struct jj_run *r, struct jj_value s, enum jj_case how, struct jj_value *ret);
bool jj_char_printable(uint32_t cp);
bool jj_char_is_upper(uint32_t cp);
bool jj_char_is_lower(uint32_t cp);
bool jj_char_is_title(uint32_t cp);

/* ---- iterating (jinja_iter.c) -------------------------------------------------------------------------- */

enum jj_iter_kind {
    JJ_I_EMPTY,
    JJ_I_VALUES, /* list, tuple */
    JJ_I_BACK,   /* list, tuple from the end */
    JJ_I_CHARS,
    JJ_I_DICT, /* keys, values or items */
    JJ_I_DICT_BACK,
    JJ_I_RANGE,
    JJ_I_SHARED, /* goes on with a one-shot iterator */
    JJ_I_ITEMS,  /* the filter items: refuses non-mappings when first asked */
    JJ_I_MAP,
    JJ_I_SELECT, /* select, reject, selectattr, rejectattr */
    JJ_I_UNIQUE
};

struct jj_iter {
    enum jj_iter_kind kind;
    bool running, started, done;
    struct jj_value src;
    size_t i;
    enum jj_view view;
    struct jj_iter *in;             /* what map, select, unique read */
    const struct jj_args *args;     /* of map, select */
    const struct jj_func *fn;       /* filter or test to apply; NULL = truth or attribute */
    struct jj_value attr, fallback; /* attribute to look at, or missing */
    bool reject, by_attr, any_case;
    struct jj_dict *seen; /* unique */
};
/* A fresh walk over v; false with an error if v cannot be walked. */
bool jj_iter_open(struct jj_run *r, struct jj_value v, struct jj_iter *ret);
/* *got false at the end. */
bool jj_iter_next(struct jj_run *r, struct jj_iter *it, struct jj_value *ret, bool *got);
bool jj_iter_collect(struct jj_run *r, struct jj_value v, struct jj_items *ret);
/* A walk from the end; *ok false if v has none. */
bool jj_iter_open_back(struct jj_run *r, struct jj_value v, struct jj_iter *ret, bool *ok);
/* len(v); *ok false if v has none. */
bool jj_length(struct jj_run *r, struct jj_value v, size_t *ret, bool *ok);
/* Read the arguments of map, select, ... when the first element is asked for (jinja_filter_list.c). */
bool jj_map_prepare(struct jj_run *r, struct jj_iter *it);
bool jj_select_prepare(struct jj_run *r, struct jj_iter *it);

/* ---- access (jinja_access.c) --------------------------------------------------------------------------- */

bool jj_get_attr(struct jj_run *r, struct jj_value v, const struct jj_str *name, struct jj_value *ret);
bool jj_get_item(struct jj_run *r, struct jj_value v, struct jj_value key, struct jj_value *ret);
/* bounds: start, stop, step; JJ_MISSING or none where left out. */
bool jj_get_slice(struct jj_run *r, struct jj_value v, const struct jj_value bounds[3], struct jj_value *ret);
/* attribute 'a.b.0' or an int, as filters take it. */
bool jj_get_path(struct jj_run *r, struct jj_value v, struct jj_value path, struct jj_value fallback,
                 struct jj_value *ret);

/* ---- calling (jinja_call.c) ---------------------------------------------------------------------------- */

struct jj_args {
    struct jj_value *pos; /* [n] */
    const struct jj_str **names;
    struct jj_value *named; /* [n_named] */
    uint32_t n, n_named;
};
#define JJ_PARAMS_MAX 6

/* A filter, test, method or global function. Filters and methods get the value they stand at as self;
 * tests return a bool value. With neither call nor call_any it is a known name that alula does not do. */
struct jj_func {
    const char *name;
    const char *params; /* of call: names, separated by blanks; those before a '/' must be given */
    bool (*call)(struct jj_run *r, struct jj_value self, const struct jj_value *a, struct jj_value *ret);
    bool (*call_any)(struct jj_run *r, struct jj_value self, const struct jj_args *args,
                     struct jj_value *ret);
    /* What becomes of a safe self: the result is no longer safe; call sees to it; alula does not do it. */
    enum jj_safe { JJ_SAFE_PLAIN, JJ_SAFE_KEEP, JJ_SAFE_REFUSE } safe;
};
bool jj_apply(struct jj_run *r, const struct jj_func *fn, struct jj_value self, const struct jj_args *args,
              struct jj_value *ret);
bool jj_call(struct jj_run *r, struct jj_value callee, const struct jj_args *args, struct jj_value *ret);
bool jj_args_eval(struct jj_run *r, const struct jj_expr *x, struct jj_args *ret);
bool jj_call_macro(struct jj_run *r, const struct jj_macro *m, const struct jj_args *args,
                   struct jj_value *ret);
const struct jj_func *jj_global_find(const struct jj_str *name);
const struct jj_func *jj_filter_find(const struct jj_str *name);
const struct jj_func *jj_test_find(const struct jj_str *name);
const struct jj_func *jj_table_find(const struct jj_func *table, const struct jj_str *name);
extern const struct jj_func jj_filters_text[], jj_filters_list[]; /* end with name NULL */
/* The method of v's kind; *unsafe: it would change v. NULL = no such method. */
const struct jj_func *jj_method_find(struct jj_value v, const struct jj_str *name, bool *unsafe);
bool jj_arg_int(struct jj_run *r, struct jj_value v, const char *what, int64_t *ret);
bool jj_arg_str(struct jj_run *r, struct jj_value v, const char *what, const struct jj_str **ret);

/* ---- walking the tree (jinja_eval.c, jinja_exec.c) ----------------------------------------------------- */

bool jj_eval(struct jj_run *r, const struct jj_expr *x, struct jj_value *ret);

enum jj_flow { JJ_GO_ON, JJ_BREAK, JJ_CONTINUE };
void jj_lookup(struct jj_run *r, const struct jj_str *name, struct jj_value *ret);
/* loop.NAME; *found false if there is no such attribute. */
bool jj_loop_attr(struct jj_run *r, struct jj_loop *l, const struct jj_str *name, struct jj_value *ret,
                  bool *found);

#endif
