/* contract.h - how a head wants to be fed, and what an artifact says of itself.
 *
 * Two files speak: mtplx_runtime.json, which wins, and config.json's mtplx_mtp_contract. */
#ifndef ARTIFACT_CONTRACT_H
#define ARTIFACT_CONTRACT_H

#include "artifact/checkpoint.h"

/* How the head was trained to be fed (spec section 4.2). Zero-initialised: the usual contract. */
enum hidden_variant {
    HIDDEN_POST_NORM,
    HIDDEN_PRE_NORM,
    HIDDEN_FC,
    HIDDEN_EMBEDDING,
    HIDDEN_PREV,
    HIDDEN_MIX
};
struct mtp_contract {
    enum hidden_variant base;         /* what the trunk hands over: POST_NORM or PRE_NORM */
    enum hidden_variant feedback;     /* what a draft step hands to the next: any */
    enum hidden_variant mix_a, mix_b; /* feedback MIX: mix_weight*a + (1-mix_weight)*b */
    float mix_weight;
    bool hidden_first; /* concat order [h ; e] instead of [e ; h] */
};

/* What the two files say. Texts are cut at their field's end. */
struct runtime_contract {
    bool present;      /* mtplx_runtime.json is there */
    char problem[256]; /* why it does not count as a valid contract, else "" (unparsable, key missing, unknown
                          profile) */
    char mtplx_version[32], arch_id[64], recommended_profile[40];
    char min_engine_version[32];
    bool needs_newer_engine; /* min_engine_version is above CONTRACT_MTPLX_VERSION */
    int depth_max;           /* 0 = not said */
    char exactness_status[64], speed_status[64], speed_verdict[64];
    bool release_blocker;  /* public_release_blocker in exactness_baseline or speed_evidence */
    bool has_mtp_contract; /* one of the files holds one; else mtp is the usual contract */
    struct mtp_contract mtp;
};

/* The release of MTPLX whose artifacts alula reads. */
#define CONTRACT_MTPLX_VERSION "2.12.2"

/* An unknown word in the contract of the head is an error (UNSUPPORTED) that names it. Everything else that
 * is wrong with mtplx_runtime.json goes to `problem`: it bars a verdict, not decoding. */
bool contract_read(struct runtime_contract *ret, const struct checkpoint *cp, struct alula_error *e);

/* The word or verdict that keeps a valid contract from counting as verified, or NULL. */
const char *contract_blocker(const struct runtime_contract *c);

/* "mix:pre_norm:prev:0p75", "post_norm" and so on into out, as artifacts spell it. Returns out. */
const char *contract_hidden_str(const struct mtp_contract *c, char *out, size_t cap);

/* What is to be done with a head's plain matrices at load. */
struct mtp_quantization {
    int bits; /* 0 = leave them */
    int group;
    bool fc_too; /* policy "all"; "cyankiwi" leaves fc alone */
};
bool contract_read_quantization(struct mtp_quantization *ret, const struct checkpoint *cp,
                                struct alula_error *e);

#endif
