/* prompts.h - the texts that tune lets a model continue. */
#ifndef TUNE_PROMPTS_H
#define TUNE_PROMPTS_H

#include <stdbool.h>

struct tune_prompt {
    const char *kind; /* "prose" */
    const char *text;
    bool chat; /* a question for the chat template; else a text to continue as it stands */
};

#define TUNE_N_PROMPTS 4
extern const struct tune_prompt tune_prompts[TUNE_N_PROMPTS];

#endif
