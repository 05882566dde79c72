/* clock.h - the time that durations are measured with. */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

/* Seconds since some moment before the program began; never runs backwards. */
double clock_s(void);

#endif
