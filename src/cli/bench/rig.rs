//! Everything that runs during a comparison: the provider, nginx, and a gateway of every setup that is compared.

use std::cell::Cell;
use std::io;
use std::path::PathBuf;

use tokio::runtime::Handle;

use super::Arguments;
use super::child::{Child, Reloads, Setup};
use super::measure::Target;
use super::nginx::Nginx;
use super::process::Watched;
use super::provider::Provider;
use super::scenario::{Kind, Scenario, Subject};

/// It ends with its owner.
pub(super) struct Rig {
    gateways: Vec<(Setup, Child)>,
    nginx: Option<Nginx>,
    provider: Provider,
    /// How often a subject whose policy is replaced was under load.
    reloads: Cell<u32>,
}

impl Rig {
    /// Starts what the scenario compares, with room for so many clients.
    pub(super) fn start(arguments: &Arguments, scenario: &Scenario, connections: usize) -> io::Result<Self> {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let provider = Provider::start(cores)?;
        let binary = match &arguments.binary {
            Some(binary) => binary.canonicalize()?,
            None => std::env::current_exe()?,
        };
        let mut gateways: Vec<(Setup, Child)> = Vec::new();
        for subject in scenario.targets {
            if let Kind::Gateway(setup) = subject.kind
                && !gateways.iter().any(|(other, _)| *other == setup)
            {
                gateways.push((setup, Child::start(&binary, provider.address(), setup)?));
            }
        }
        let wanted = !arguments.without_nginx && scenario.targets.iter().any(|subject| subject.kind == Kind::Nginx);
        let found: Option<PathBuf> = if wanted { Nginx::find() } else { None };
        let nginx = found.map(|file| Nginx::start(&file, provider.address(), connections)).transpose()?;
        Ok(Self { gateways, nginx, provider, reloads: Cell::new(0) })
    }

    pub(super) fn provider(&self) -> &Provider {
        &self.provider
    }

    /// The load generator's threads, which are the provider's.
    pub(super) fn cores(&self) -> &[Handle] {
        self.provider.cores()
    }

    /// Who is compared, as far as it is there.
    pub(super) fn targets(&self, scenario: &Scenario) -> io::Result<Vec<(&'static str, Target<'_>)>> {
        let mut targets = Vec::new();
        for subject in scenario.targets {
            let (address, watched) = match subject.kind {
                Kind::Direct => (self.provider.address(), None),
                Kind::Nginx => match &self.nginx {
                    Some(nginx) => (nginx.address(), Some(nginx.watched()?)),
                    None => continue,
                },
                Kind::Gateway(setup) => match self.gateway(setup) {
                    Some(gateway) => (gateway.address(), Some(gateway.watched()?)),
                    None => continue,
                },
            };
            let idle_kib = watched.as_ref().map(Watched::idle_kib).transpose()?.unwrap_or(0);
            let order = scenario.order(subject, address);
            targets.push((subject.name, Target { subject: *subject, order, watched, idle_kib, rig: self }));
        }
        Ok(targets)
    }

    /// The target that others are compared with.
    pub(super) fn mark(&self, scenario: &Scenario) -> &'static str {
        let missing = |kind| kind == Kind::Nginx && self.nginx.is_none();
        let proxies = scenario.targets.iter().filter(|subject| subject.kind != Kind::Direct && !missing(subject.kind));
        let (mut proxies, rest) = (proxies.clone(), proxies.count());
        // A gateway alone is compared with the direct call.
        let first = if rest > 1 { proxies.next() } else { scenario.targets.first() };
        first.map_or("", |subject| subject.name)
    }

    /// Begins to replace the policy of a subject of which that is asked, until what is returned is dropped.
    pub(super) fn reload(&self, subject: &Subject) -> Option<Reloads> {
        let Kind::Gateway(setup) = subject.kind else { return None };
        let reloads = self.gateway(setup)?.reload(subject.replaced?);
        self.reloads.set(self.reloads.get() + 1);
        Some(reloads)
    }

    /// What a reader should know about this run.
    pub(super) fn notes(&self) -> Option<String> {
        let (_, gateway) = self.gateways.first().filter(|_| self.reloads.get() > 0)?;
        Some(format!("{} policies came into force in {} spells of load", gateway.revisions(), self.reloads.get()))
    }

    fn gateway(&self, setup: Setup) -> Option<&Child> {
        self.gateways.iter().find(|(other, _)| *other == setup).map(|(_, child)| child)
    }
}
