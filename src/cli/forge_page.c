/* forge_page.c - shows a forge's preview and report. */
#include "cli/forge_page.h"

#include <string.h>

#include "base/json.h"
#include "base/sysmem.h"
#include "forge/survey.h"

static void width(const struct forge_class *c, char out[40])
{
    if (c->type == DT_COUNT)
        snprintf(out, 40, "as they are");
    else if (!c->bits)
        snprintf(out, 40, "%s", c->type == DT_BF16 ? "bf16" : c->type == DT_F16 ? "fp16" : "fp32");
    else
        snprintf(out, 40, "%d bits of %d%s", c->bits, c->group, c->kept ? ", kept" : "");
}

static void show_classes(const struct forge_preview *p, bool head, struct buf *out)
{
    for (int i = 0; i < p->n; i++) {
        const struct forge_class *c = &p->classes[i];
        char bytes[32], w[40];
        if (c->head != head) continue;
        width(c, w);
        buf_fmt(out, "  %-41s %6zu  %-18s %9s\n", c->name, c->n_modules, w, page_bytes(bytes, c->bytes));
    }
}

static void show_time(const struct forge_preview *p, struct buf *out)
{
    char rate[32];
    if (p->bytes_per_s <= 0) {
        page_line(out, "time", TERM_PLAIN, "that of copying; nothing is to be packed");
        return;
    }
    page_bytes(rate, (uint64_t)p->bytes_per_s);
    if (p->seconds < 90)
        page_line(out, "time", TERM_PLAIN,
                  "about %.0f s of packing, at %s a second measured here; the disk may take longer",
                  p->seconds < 1 ? 1.0 : p->seconds, rate);
    else
        page_line(out, "time", TERM_PLAIN,
                  "about %.0f min of packing, at %s a second measured here; the disk may take longer",
                  p->seconds / 60, rate);
}

void forge_preview_page(const struct forge_preview *p, const struct forge_options *o, struct buf *out)
{
    char a[32], b[32];
    page_title(out, "What would be forged; nothing is written");
    page_line(out, "trunk", TERM_PLAIN, "%s (%s)", o->trunk, p->trunk_id);
    page_line(out, "MTP head", TERM_PLAIN, "%s (%s)", o->mtp ? o->mtp : o->trunk, p->mtp_id);
    if (o->out) page_line(out, "out", TERM_PLAIN, "%s", o->out);
    buf_fmt(out, "\n  %-41s %6s  %-18s %9s\n", "module", "number", "width", "size");
    show_classes(p, false, out);
    show_classes(p, true, out);
    buf_byte(out, '\n');
    page_line(out, "reads", TERM_PLAIN, "%s", page_bytes(a, p->source_bytes));
    page_line(out, "writes", TERM_PLAIN, "%s in %d file%s, and %s in mtp.safetensors",
              page_bytes(a, p->body_bytes), p->n_shards, p->n_shards == 1 ? "" : "s",
              page_bytes(b, p->head_bytes));
    show_time(p, out);
}

void forge_measuring_line(uint64_t artifact, uint64_t source, struct buf *out)
{
    char a[32], b[32], c[32];
    uint64_t have = sysmem_available();
    page_bytes(a, artifact);
    page_bytes(b, source);
    page_bytes(c, have);
    if (!have || artifact + source <= have)
        page_line(out, "measuring", TERM_PLAIN, "maps the result, %s, and its source, %s", a, b);
    else if (artifact <= have)
        page_line(
            out, "measuring", TERM_PLAIN,
            "maps the result, %s. With its source, %s, that is more than the %s of memory that are free: the "
            "two bodies will not be compared",
            a, b, c);
    else
        page_line(out, "measuring", TERM_RED,
                  "maps the result, %s, which is more than the %s of memory that are free: it is read from "
                  "the disk "
                  "over and over. --no-verify leaves that out; alula forge verify makes up for it on a "
                  "larger machine",
                  a, c);
}

void forge_unmeasured_lines(const char *dir, struct buf *out)
{
    struct buf command = {0};
    buf_str(&command, "alula forge verify ");
    survey_quote(&command, dir);
    page_line(out, "next", TERM_PLAIN, "measure it, so that it can be called verified:");
    if (command.data) page_command(out, command.data);
    buf_free(&command);
}

static void add_text(struct buf *out, const char *key, const char *text)
{
    buf_fmt(out, "\"%s\": ", key);
    json_write_str(out, text, strlen(text));
}

void forge_preview_json(const struct forge_preview *p, struct buf *out)
{
    buf_byte(out, '{');
    add_text(out, "trunk_id", p->trunk_id);
    buf_str(out, ", ");
    add_text(out, "mtp_id", p->mtp_id);
    buf_fmt(
        out,
        ", \"source_bytes\": %llu, \"body_bytes\": %llu, \"head_bytes\": %llu, \"shards\": %d, \"seconds\": ",
        (unsigned long long)p->source_bytes, (unsigned long long)p->body_bytes,
        (unsigned long long)p->head_bytes, p->n_shards);
    json_write_real(out, p->seconds);
    buf_str(out, ", \"modules\": [");
    for (int i = 0; i < p->n; i++) {
        const struct forge_class *c = &p->classes[i];
        buf_str(out, i ? ", {" : "{");
        add_text(out, "name", c->name);
        buf_fmt(out,
                ", \"head\": %s, \"bits\": %d, \"group_size\": %d, \"number\": %zu, \"parameters\": %llu, "
                "\"bytes\": %llu}",
                c->head ? "true" : "false", c->bits, c->group, c->n_modules,
                (unsigned long long)c->parameters, (unsigned long long)c->bytes);
    }
    buf_str(out, "]}\n");
}

void forge_report_page(const struct forge_report *r, const char *dir, struct buf *out)
{
    char a[32];
    page_title(out, dir);
    page_line(out, "body", TERM_PLAIN, "%s in %d file%s", page_bytes(a, r->body_bytes), r->n_shards,
              r->n_shards == 1 ? "" : "s");
    page_line(out, "MTP head", TERM_PLAIN, "%s in mtp.safetensors", page_bytes(a, r->head_bytes));
    if (r->n_resumed)
        page_line(out, "resumed", TERM_PLAIN, "%d file%s that an earlier run had finished", r->n_resumed,
                  r->n_resumed == 1 ? "" : "s");
    page_bytes(a, r->source_bytes);
    page_line(out, "read", TERM_PLAIN, "%s in %.1f s (%.0f MB/s)", a, r->seconds,
              (double)r->source_bytes / 1e6 / r->seconds);
}

void forge_report_json(const struct forge_report *r, const char *dir, const json_t *measured, struct buf *out)
{
    buf_byte(out, '{');
    add_text(out, "out", dir);
    buf_fmt(out, ", \"source_bytes\": %llu, \"body_bytes\": %llu, \"head_bytes\": %llu, \"modules\": %zu",
            (unsigned long long)r->source_bytes, (unsigned long long)r->body_bytes,
            (unsigned long long)r->head_bytes, r->n_modules);
    buf_fmt(out, ", \"shards\": %d, \"resumed\": %d, \"seconds\": ", r->n_shards, r->n_resumed);
    json_write_real(out, r->seconds);
    if (measured) {
        buf_str(out, ", \"verification\": ");
        json_write(out, measured, 0);
    }
    buf_str(out, "}\n");
}
