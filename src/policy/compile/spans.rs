//! What a budget's span means for its `per` and its ladder: rolling windows and workflows have no calendar's edges.

use crate::diagnostic::Diagnostic;
use crate::domain::window::Span;
use crate::policy::budget::Dimension;
use crate::policy::ladder::{Ladder, Rung, Scope};
use crate::policy::reader::Problems;
use crate::policy::tree::Node;

/// The parts of a budget that must fit together.
pub(super) struct Spanned<'b> {
    pub(super) name: &'b str,
    pub(super) span: Span,
    pub(super) per: &'b [Dimension],
    pub(super) ladder: &'b Ladder,
}

/// `E123` for a workflow's limit on a counter of many; and for spans that are counted in buckets `E148` for a question, `W146`
/// for a block and `W147` for a forecast.
pub(super) fn check(
    budget: &Spanned<'_>,
    (limit, escalation): (Option<&Node>, Option<&Node>),
    problems: &mut Problems,
) {
    let (Some(limit), Some(escalation)) = (limit, escalation) else { return };
    let Spanned { name, span, per, ladder } = *budget;
    let what = match span {
        Span::Calendar(_) => return,
        Span::Rolling(_) => "a rolling window",
        Span::Workflow => "a workflow",
    };
    if span == Span::Workflow && !per.contains(&Dimension::WorkflowId) {
        let message = format!("budget `{name}` has a limit per workflow and no counter per workflow");
        let fault = Diagnostic::error("E123", message).at(&limit.place, "");
        problems.push(fault.help("add `per: [tenantId, workflowId]`"));
    }
    if let Some(asking) = ladder.rungs.iter().find(|rung| rung.ask.is_some()) {
        let message =
            format!("`{}` asks somebody about {what}, which has no end for the answer to hold until", asking.step);
        let fault = Diagnostic::error("E148", message).at(&escalation.place, "");
        problems.push(fault.help("act without `ask`, or count by a calendar period"));
    }
    if ladder.rungs.iter().any(blocks_all) {
        let message = format!("budget `{name}` blocks by {what}: this is no exact ceiling");
        let fault = Diagnostic::warning("W146", message).at(&escalation.place, "");
        let fault =
            fault.note("note: a call is refused once the limit is used up; calls in flight then can go beyond it");
        problems.push(fault.help("for an exact ceiling add a budget of a calendar period with `block: all`"));
    }
    if let Some(forecast) = ladder.rungs.iter().find(|rung| rung.at.forecast) {
        let message = format!("`{}` of budget `{name}` is never reached: {what} has no forecast", forecast.step);
        let fault = Diagnostic::warning("W147", message).at(&escalation.place, "");
        problems.push(fault.help("use a plain percentage, or count by a calendar period"));
    }
}

fn blocks_all(rung: &Rung) -> bool {
    rung.remedies.block == Some(Scope::All)
}
