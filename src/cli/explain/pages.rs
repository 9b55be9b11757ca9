//! The pages by code. A code without a page, and a page without a code, fail a test.

macro_rules! pages {
    ($($code:ident)*) => {
        &[$((stringify!($code), include_str!(concat!("../../../docs/codes/", stringify!($code), ".md")))),*]
    };
}

/// Code and page, in order.
pub(super) const PAGES: &[(&str, &str)] = pages! {
    E001
    E002
    E003
    E004
    E011
    E012
    E013
    E014
    E015
    E016
    E017
    E018
    E019
    E020
    E021
    E022
    E023
    E024
    E025
    E026
    E027
    E028
    E029
    E030
    E031
    E032
    E033
    E041
    E042
    E043
    E044
    E101
    E102
    E103
    E104
    E105
    E106
    E107
    E108
    E111
    E112
    E113
    E114
    E115
    E121
    E122
    E124
    E125
    E131
    W133
    W134
    E141
    E142
    E143
    E144
    E145
    E151
    W152
    E153
    E162
    W163
    E164
    W164
    E165
    E171
    E172
    E173
    E174
    W175
    E190
    W201
    W212
    W221
    W222
    W223
    W231
};
