//! The line, as a worker sees it: the heads of the lanes, and what has come up.

use std::collections::HashMap;
use std::time::Duration;

use dialog360::id::PartnerId;
use onboarding::queue::{Due, Lane};
use runtime::clock;
use store::{DueRow, Error, Subject};
use tokio::time::Instant;

use crate::Provision;
use crate::hook::HookLine;
use crate::retry::RetryAt;

/// How many items of a lane are read at once.
const ROWS: i32 = 25;

/// For how long a row of the index that was found outdated is passed over: the index follows within seconds.
const OUTDATED_FOR: Duration = Duration::from_secs(5);

impl Provision {
    /// Moves what has come up into the line, at the places of its tenants, and registers claims whose record was lost.
    /// Returns whether there may be more.
    pub(crate) async fn move_alarms(
        &self,
        partner: &PartnerId,
        line: &mut Line,
    ) -> Result<bool, Error> {
        let now = clock::now();
        let rows = self.queue.rows(partner, Lane::Alarm, now, ROWS).await?;
        let is_full = i32::try_from(rows.len()).is_ok_and(|rows| rows >= ROWS);
        for DueRow { subject, .. } in rows {
            if let Subject::Claim(partner, claim) = &subject {
                match self.register(partner, claim).await {
                    Ok(subject) => line.fresh.extend(subject),
                    Err(Error::Malformed(what)) => {
                        tracing::error!(%claim, what, "a claim is not in the form we write");
                        self.put_off_a_day(&subject, now).await?;
                    }
                    Err(error) => return Err(error),
                }
                continue;
            }
            let entry = self.queue.entry(&subject).await?;
            let is_up =
                |due: Due| due.lane() == Lane::Alarm && due.time().is_none_or(|at| at <= now);
            // The index lags.
            if !entry.entry.due.is_some_and(is_up) {
                continue;
            }
            let payer = match &entry.payer {
                Some(payer) => Some(payer.clone()),
                None => match self.find_payer(&subject).await {
                    Err(Error::Malformed(what)) => {
                        tracing::error!(?subject, what, "due work is not in the form we write");
                        self.put_off_a_day(&subject, now).await?;
                        continue;
                    }
                    payer => payer?,
                },
            };
            match payer {
                Some(payer) => {
                    let calls = subject.task().calls();
                    let queue = &self.queue;
                    queue.come_up(&subject, &entry, &payer, calls, now).await?;
                    line.fresh.push(subject);
                }
                // Work for nobody: what gives it a tenant makes it due again.
                None => self.queue.drop(&subject, &entry, now).await?,
            }
        }
        Ok(is_full)
    }

    /// Puts off what cannot be read: it must not hold up what can.
    async fn put_off_a_day(&self, subject: &Subject, now: jiff::Timestamp) -> Result<(), Error> {
        let tomorrow = RetryAt::Tomorrow.due(now, 0, None).and_then(Due::time);
        let entry = self.queue.entry(subject).await?;
        let at = tomorrow.unwrap_or(now);
        self.queue.put_off(subject, &entry, at, now).await
    }
}

/// The heads of the line and of the background, as far as they are known.
pub(crate) struct Line {
    /// The items that the run itself has made due: the index may not show them yet.
    pub(crate) fresh: Vec<Subject>,
    /// The rows in their order; then the first of the background.
    pub(crate) rows: Vec<DueRow>,
    pub(crate) background: Option<DueRow>,
    outdated: HashMap<(Subject, i128), Instant>,
    /// The calls of items that need more than is usual.
    pub(crate) calls: HashMap<Subject, usize>,
    /// The messaging webhooks, which are apart from the lanes.
    pub(crate) hooks: HookLine,
}

impl Line {
    pub(crate) fn new(fresh: Vec<Subject>) -> Self {
        Self {
            fresh,
            rows: Vec::new(),
            background: None,
            outdated: HashMap::new(),
            calls: HashMap::new(),
            hooks: HookLine::default(),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty() && self.background.is_none()
    }

    /// Reads the heads from the index, and what the run itself made due from the table.
    pub(crate) async fn read(
        &mut self,
        provision: &Provision,
        partner: &PartnerId,
    ) -> Result<(), Error> {
        let now = clock::now();
        self.outdated
            .retain(|_, since| since.elapsed() < OUTDATED_FOR);
        let passed = i32::try_from(self.outdated.len()).unwrap_or(ROWS);
        let limit = ROWS.saturating_add(passed);
        let queue = &provision.queue;
        let mut rows = queue.rows(partner, Lane::Line, now, limit).await?;
        let background = queue.rows(partner, Lane::Background, now, limit).await?;
        let page = usize::try_from(limit).unwrap_or(usize::MAX);
        let (mut fresh, mut new) = (Vec::new(), Vec::new());
        for subject in std::mem::take(&mut self.fresh) {
            let entry = queue.entry(&subject).await?;
            if let (Some(Due::InLine(_)), Some(order)) =
                (entry.entry.due, entry.order(subject.task()))
            {
                new.push(DueRow {
                    subject: subject.clone(),
                    order,
                });
                fresh.push(subject);
            }
        }
        self.fresh = fresh;
        // Behind the last row of a full page there may be others before it.
        let last = rows
            .last()
            .filter(|_| rows.len() >= page)
            .map(|row| row.order);
        new.retain(|row| last.is_none_or(|last| row.order < last));
        rows.append(&mut new);
        rows.retain(|row| self.is_current(row));
        rows.sort_by_key(|row| row.order);
        rows.dedup();
        self.rows = rows;
        self.background = background.into_iter().find(|row| self.is_current(row));
        if self.background.is_none() {
            let comparisons = queue.rows(partner, Lane::Comparison, now, limit).await?;
            self.background = comparisons.into_iter().find(|row| self.is_current(row));
        } else {
            self.sweep_first(provision, partner, now).await?;
        }
        Ok(())
    }

    /// A sweep that is due goes before the rest of the background, however much that is.
    async fn sweep_first(
        &mut self,
        provision: &Provision,
        partner: &PartnerId,
        now: jiff::Timestamp,
    ) -> Result<(), Error> {
        let subject = Subject::Sweep(partner.clone());
        let entry = provision.queue.entry(&subject).await?;
        let due = entry.entry.due.filter(|_| entry.entry.taken.is_none());
        let is_up = due.and_then(Due::time).is_some_and(|at| at <= now);
        let order = entry.order(subject.task()).filter(|_| is_up);
        let row = order.map(|order| DueRow { subject, order });
        if let Some(row) = row.filter(|row| self.is_current(row)) {
            self.background = Some(row);
        }
        Ok(())
    }

    fn is_current(&self, row: &DueRow) -> bool {
        let key = (row.subject.clone(), row.order);
        !self.outdated.contains_key(&key)
    }

    /// Passes over a row: it is done, or was outdated.
    pub(crate) fn pass(&mut self, row: &DueRow) {
        let key = (row.subject.clone(), row.order);
        self.outdated.insert(key, Instant::now());
        self.fresh.retain(|subject| *subject != row.subject);
    }

    pub(crate) fn calls_of(&self, subject: &Subject) -> usize {
        let usual = subject.task().calls();
        self.calls.get(subject).copied().unwrap_or(usual)
    }
}
