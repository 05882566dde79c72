/* verdict.c - the rules by which measurements become a verdict. Measures nothing, prints nothing. */
#include "tune/verdict.h"

#include <string.h>

#include "forge/stats.h"

static const char *const names[] = {
    [TUNE_MTP_WINS] = "mtp_depth_wins",
    [TUNE_PLAIN_WINS] = "no_mtp_depth_beat_ar",
    [TUNE_QUALITY_FAILED] = "no_quality_passed_mtp_depth_beat_ar",
    [TUNE_COLLAPSED] = "mtp_acceptance_collapsed",
    [TUNE_NO_PLAIN_RESULT] = "tune_failed_no_ar_result",
};

const char *tune_verdict_name(enum tune_verdict v) { return names[v]; }

bool tune_verdict_find(const char *name, enum tune_verdict *ret)
{
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (strcmp(name, names[i])) continue;
        *ret = (enum tune_verdict)i;
        return true;
    }
    return false;
}

double tune_acceptance(const struct tune_row *row, int d)
{
    return row->drafted[d] ? (double)row->accepted[d] / (double)row->drafted[d] : 0;
}

struct estimate tune_acceptance_interval(const struct tune_row *row, int d)
{
    struct interval range = stats_wilson(row->accepted[d], row->drafted[d]);
    return (struct estimate){.mid = tune_acceptance(row, d), .low = range.low, .high = range.high};
}

static bool overlap(struct estimate a, struct estimate b) { return a.low <= b.high && b.low <= a.high; }

/* Faster by more than the noise of the measurement. */
static bool is_faster(const struct tune_row *row)
{
    return row->multiplier.mid > 1 && row->multiplier.low > 1;
}

static void find_winner(const struct tune_row *rows, int n_rows, struct tune_ruling *r)
{
    bool able[TUNE_ROWS_MAX] = {false};
    for (int i = 1; i < n_rows; i++) {
        able[i] = is_faster(&rows[i]) && !r->collapsed[i] && !r->failed[i];
        if (able[i] && (r->fastest < 0 || rows[i].multiplier.mid > rows[r->fastest].multiplier.mid))
            r->fastest = i;
    }
    r->winner = r->fastest;
    if (r->fastest < 0) return;
    double enough = rows[r->fastest].tok_s.mid * (1 - TUNE_PREFER_DEEPER_PCT / 100);
    for (int i = 1; i < n_rows; i++)
        if (able[i] && rows[i].tok_s.mid >= enough && rows[i].depth > rows[r->winner].depth) r->winner = i;
    for (int i = 1; i < n_rows; i++)
        r->ties_winner[i] = i != r->winner && overlap(rows[i].multiplier, rows[r->winner].multiplier);
}

void tune_judge(const struct tune_row *rows, int n_rows, struct tune_ruling *ret)
{
    *ret = (struct tune_ruling){.verdict = TUNE_NO_PLAIN_RESULT, .fastest = -1, .winner = -1};
    if (!(rows[0].tok_s.mid > 0)) return;
    int n_collapsed = 0;
    bool any_failed = false;
    for (int i = 1; i < n_rows; i++) {
        ret->collapsed[i] = tune_acceptance(&rows[i], 0) <= TUNE_COLLAPSE_AT;
        ret->failed[i] = is_faster(&rows[i]) && !rows[i].exact_match;
        ret->ties_plain[i] = rows[i].multiplier.low <= 1 && rows[i].multiplier.high >= 1;
        n_collapsed += ret->collapsed[i];
        any_failed |= ret->failed[i];
    }
    find_winner(rows, n_rows, ret);
    if (ret->winner >= 0)
        ret->verdict = TUNE_MTP_WINS;
    else if (any_failed)
        ret->verdict = TUNE_QUALITY_FAILED;
    else if (n_rows > 1 && n_collapsed == n_rows - 1)
        ret->verdict = TUNE_COLLAPSED;
    else
        ret->verdict = TUNE_PLAIN_WINS;
}
