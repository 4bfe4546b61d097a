#include "core/base/progress.h"

#include <stdio.h>
#include <time.h>
#include <unistd.h>

static double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

void progress_init(Progress *p, const char *label, ProgressUnit unit, uint64_t total)
{
    double start_s = now_s();
    *p = (Progress){.label = label, .unit = unit, .total = total, .start_s = start_s, .drawn_s = start_s,
                    .is_shown = isatty(STDERR_FILENO) == 1};
}

const char *progress_format(const Progress *p, double elapsed_s, char *buf, size_t n)
{
    double done = (double)p->done, total = (double)p->total;
    double rate = elapsed_s > 0 ? done / elapsed_s : 0;
    double left_s = rate > 0 ? (total - done) / rate : 0;
    int percent = p->total ? (int)(100.0 * done / total) : 100;
    if (p->unit == PROGRESS_BYTES)
        snprintf(buf, n, "%s  %.1f/%.1f GB  %d %%  %.1f GB/s  %.0f s left", p->label, done * 1e-9, total * 1e-9, percent,
                 rate * 1e-9, left_s);
    else
        snprintf(buf, n, "%s  %.0f/%.0f  %d %%  %.1f/s  %.0f s left", p->label, done, total, percent, rate, left_s);
    return buf;
}

static void draw(Progress *p, double now)
{
    char line[160];
    fprintf(stderr, "\r%s\033[K", progress_format(p, now - p->start_s, line, sizeof line));
    fflush(stderr);
    p->drawn_s = now;
    p->is_drawn = true;
}

void progress_add(Progress *p, uint64_t n)
{
#pragma omp critical(progress)
    {
        p->done += n;
        if (p->is_shown) {
            double now = now_s();
            if (now - p->drawn_s >= 0.2)
                draw(p, now);
        }
    }
}

void progress_deinit(Progress *p)
{
    if (p->is_drawn) {
        fputs("\r\033[K", stderr);
        fflush(stderr);
    }
    p->is_drawn = false;
}
