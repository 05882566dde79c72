/* webpage.c - the web page's files as they lie in src/serve/page/, put into the program by the assembler, so
 * that there is neither a build step nor a file to install. Must not know what the page does. */
#include "serve/webpage.h"

#include <string.h>

/* Defines NAME_begin and NAME_end around the bytes of the file. Paths are those of the tree's root, where make
 * runs. */
#define EMBED(name, file)                                                                                    \
    __asm__(".section .rodata\n" #name "_begin:\n.incbin \"src/serve/page/" file "\"\n" #name                \
            "_end:\n.byte 0\n"                                                                               \
            ".previous\n");                                                                                  \
    extern const char name##_begin[], name##_end[]

EMBED(page_index, "index.html");
EMBED(page_style, "style.css");
EMBED(page_icon, "icon.svg");
EMBED(page_app, "app.js");
EMBED(page_copy, "copy.js");
EMBED(page_markdown, "markdown.js");
EMBED(page_stream, "stream.js");
EMBED(page_strip, "strip.js");
EMBED(page_view, "view.js");

#define TYPE_HTML   "text/html; charset=utf-8"
#define TYPE_CSS    "text/css; charset=utf-8"
#define TYPE_SCRIPT "text/javascript; charset=utf-8"
#define TYPE_SVG    "image/svg+xml"

static const struct page_file files[] = {
    {"/", TYPE_HTML, page_index_begin, page_index_end},
    {"/style.css", TYPE_CSS, page_style_begin, page_style_end},
    {"/icon.svg", TYPE_SVG, page_icon_begin, page_icon_end},
    {"/app.js", TYPE_SCRIPT, page_app_begin, page_app_end},
    {"/copy.js", TYPE_SCRIPT, page_copy_begin, page_copy_end},
    {"/markdown.js", TYPE_SCRIPT, page_markdown_begin, page_markdown_end},
    {"/stream.js", TYPE_SCRIPT, page_stream_begin, page_stream_end},
    {"/strip.js", TYPE_SCRIPT, page_strip_begin, page_strip_end},
    {"/view.js", TYPE_SCRIPT, page_view_begin, page_view_end},
};

const struct page_file *page_find(const char *path)
{
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        if (!strcmp(files[i].path, path)) return &files[i];
    return NULL;
}
