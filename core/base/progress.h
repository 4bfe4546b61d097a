/* One line on a terminal that says how far a long run is: label, done/total, per cent, rate, time left. Silent when stderr is not
 * a terminal, so that pipes and logs stay clean. One thread draws at a time; others may call progress_add at will. */
#ifndef CORE_BASE_PROGRESS_H
#define CORE_BASE_PROGRESS_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum ProgressUnit { PROGRESS_ITEMS, PROGRESS_BYTES } ProgressUnit;

typedef struct Progress {
    const char *label; /* borrowed */
    ProgressUnit unit;
    uint64_t total, done;
    double start_s, drawn_s; /* monotonic clock */
    bool is_shown;           /* stderr is a terminal */
    bool is_drawn;           /* the line is on the screen now */
} Progress;

void progress_init(Progress *p, const char *label, ProgressUnit unit, uint64_t total);
/* n more units are done; redraws at most five times a second. Callers in several threads are serialized. */
void progress_add(Progress *p, uint64_t n);
/* Wipes the line. */
void progress_deinit(Progress *p);
/* The line itself, without control characters: "scan  3.2/24.0 GB  13 %  1.9 GB/s  11 s left". Returns buf. */
const char *progress_format(const Progress *p, double elapsed_s, char *buf, size_t n);

#endif
