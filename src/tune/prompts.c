/* prompts.c - a few short texts of different kinds. How often a draft is kept depends on the text: code
 * repeats itself, prose does not. Too plain to need knowledge, so that any model can go on with them. */
#include "tune/prompts.h"

const struct tune_prompt tune_prompts[TUNE_N_PROMPTS] = {
    {.kind = "prose",
     .text =
         "And in the morning the old man rose up, and went out of the house, and came to the river. And he "
         "looked upon the water, and said unto his son, Behold, the"},
    {.kind = "code",
     .text = "#include <stdio.h>\n#include <stdlib.h>\n\n/* Sum of the n numbers of an array. */\nstatic int "
             "sum(const int "
             "*values, int n)\n{\n    int total = 0;\n    for (int i = 0; i < n; i++)\n        total += "
             "values[i];\n    "
             "return total;\n}\n\n/* Largest of the n numbers of an array. */\nstatic int"},
    {.kind = "chat",
     .text = "Explain in a few sentences why the sky is blue by day and red in the evening.",
     .chat = true},
    {.kind = "list",
     .text = "Give me a list of ten things to pack for three days in the mountains, with a reason for each.",
     .chat = true},
};
