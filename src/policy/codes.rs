//! The codes of every diagnostic about policies and tenants. A code never changes its meaning.

/// Code and title, in order.
pub const CODES: &[(&str, &str)] = &[
    ("E101", "the file is not valid YAML"),
    ("E102", "a bare `*` starts a YAML alias"),
    ("E103", "the same name is defined twice"),
    ("E104", "unknown key"),
    ("E105", "a required key is missing"),
    ("E106", "a value of the wrong kind"),
    ("E107", "a part of YAML that is not used here"),
    ("E108", "thousands separator"),
    ("E111", "not one of the words that are valid here"),
    ("E112", "not a number, percentage or factor"),
    ("E113", "a number out of range"),
    ("E114", "not a date, time, duration or time zone"),
    ("E115", "not an identifier"),
    ("E121", "an amount without a period"),
    ("E122", "not an amount"),
    ("E124", "plans count in different units or periods"),
    ("E125", "a shared budget with a limit that differs by tenant"),
    ("E126", "a currency without an exchange rate"),
    ("E131", "a reference to something that is not defined"),
    ("W133", "a notify target that is not defined"),
    ("W134", "a plan without the budget that a limit refers to"),
    ("E141", "a step or ladder that does nothing"),
    ("E142", "a ladder out of order"),
    ("E143", "`block` beside `otherwise`"),
    ("E144", "a segment does what it says is never done"),
    ("E145", "a step that acts on a forecast"),
    ("E151", "a route that costs more"),
    ("W152", "a route that cannot be compared"),
    ("E153", "a route to another provider"),
    ("E154", "a service tier where there is none"),
    ("W155", "a flagship model that everybody still reaches"),
    ("E162", "an exception without reason, approval or end"),
    ("W163", "an exception that has expired"),
    ("E164", "an exception that counts differently from its budget"),
    ("E165", "two active exceptions for one tenant and budget"),
    ("W164", "a budget whose review is overdue"),
    ("W166", "an exception that ends soon"),
    ("E171", "an unknown or missing column of tenants"),
    ("E172", "a tenant that is given twice"),
    ("E173", "a row of tenants that cannot be read"),
    ("E174", "a wrong value in a row of tenants"),
    ("W175", "a tenant with an undefined plan or segment"),
    ("E190", "understood, and not supported yet"),
];

/// The title of a code.
pub fn title(code: &str) -> Option<&'static str> {
    CODES.iter().find(|(known, _)| *known == code).map(|(_, title)| *title)
}
