//! The worker of one partner. Whoever holds its lease makes the partner's calls, one after the other, in the order of the
//! queue and within 360dialog's limit.

use std::sync::Arc;
use std::time::Duration;

use dialog360::client::{ApiError, ErrorKind, PartnerClient};
use dialog360::credentials::Credentials;
use dialog360::id::PartnerId;
use jiff::SignedDuration;
use onboarding::queue::{Circuit, Due, Heard, Lane, Next, Stop, Work};
use onboarding::secret::PartnerAccess;
use runtime::{clock, token};
use store::{DueRow, Error, StoredEntry, Subject, Write};
use tokio::time::{Instant, sleep};

use crate::Provision;
use crate::line::Line;
use crate::retry::RetryAt;

/// How late a call may be sent after its time was written.
const SENT_WITHIN: SignedDuration = SignedDuration::from_millis(300);

/// How many times a call's time is written before the table counts as too slow.
const MOST_WRITES: usize = 10;

/// After this the index shows what was made due.
const ASKED_LATELY: SignedDuration = SignedDuration::from_secs(3);

/// The longest sleep: after it the queue is read again, and the lease extended.
const NAP: Duration = Duration::from_secs(2);

/// The pause between the two empty looks at the queue that end a run by the clock.
const SECOND_LOOK: Duration = Duration::from_secs(1);

/// The shortest wait for a call in which a messaging webhook is set.
const LONG_WAIT: SignedDuration = SignedDuration::from_secs(1);

/// How long a run of the stream waits for the messaging API: what has no answer by then is tried again by the clock.
const STREAM_HOOK: SignedDuration = SignedDuration::from_secs(2);

/// How a run treats what cannot be done at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Patience {
    /// The clock's run waits for the lease and for free calls.
    Waits,
    /// The stream's run leaves it to the clock's.
    Leaves,
}

/// The time of a run: nothing is begun after `until`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run {
    pub(crate) until: Instant,
    pub(crate) patience: Patience,
}

impl Run {
    fn is_over(self) -> bool {
        Instant::now() >= self.until
    }
}

/// Why a piece of work was not brought to its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Stopped {
    /// The table failed.
    #[error(transparent)]
    Store(#[from] Error),
    /// Another worker has the lease.
    #[error("another worker has taken over")]
    LeaseLost,
    /// There is no free call before the end of the run.
    #[error("no call is free before the end of the run")]
    NoTime,
    /// The partner secret cannot be read.
    #[error("the partner secret cannot be read")]
    NoSecret,
}

/// A piece of work that a worker has taken.
pub(crate) struct Taken {
    pub(crate) subject: Subject,
    pub(crate) entry: StoredEntry,
    pub(crate) token: String,
}

/// When a piece of work is due next, and how often in a row it has failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NextTime {
    pub(crate) due: Option<Due>,
    pub(crate) failures: u32,
}

/// The choice of a worker.
enum Choice {
    /// To do this.
    Do(DueRow),
    /// To look at the queue again.
    Again,
    /// To wait until then.
    Wait(jiff::Timestamp),
}

/// The holder of the lease on a partner's calls.
pub(crate) struct Worker<'a> {
    pub(crate) provision: &'a Provision,
    pub(crate) partner: &'a PartnerId,
    pub(crate) access: Arc<PartnerAccess>,
    pub(crate) run: Run,
    work: Work,
    lane: Lane,
    token: String,
}

impl Provision {
    /// Works off a partner's queue until nothing is due, the run is over, or another worker has the lease. `fresh` is
    /// what the run itself has just made due, which the index may not show yet.
    pub(crate) async fn work(
        &self,
        partner: &PartnerId,
        fresh: Vec<Subject>,
        run: Run,
    ) -> Result<(), Error> {
        let mut line = Line::new(fresh);
        let mut worker: Option<Worker<'_>> = None;
        let result = self.work_off(partner, &mut line, &mut worker, run).await;
        if let Some(worker) = worker {
            worker.end().await?;
        }
        match result {
            Ok(()) => Ok(()),
            Err(Stopped::Store(error)) => Err(error),
            Err(why @ (Stopped::LeaseLost | Stopped::NoTime | Stopped::NoSecret)) => {
                tracing::info!(%partner, %why, "the rest of the queue waits");
                Ok(())
            }
        }
    }

    async fn work_off<'a>(
        &'a self,
        partner: &'a PartnerId,
        line: &mut Line,
        worker: &mut Option<Worker<'a>>,
        run: Run,
    ) -> Result<(), Stopped> {
        let mut is_second_look = false;
        while !run.is_over() {
            let moved = self.move_alarms(partner, line).await?;
            line.read(self, partner).await?;
            if line.is_empty() {
                // The next records wait for a run of the stream.
                let until = match run.patience {
                    Patience::Leaves => clock::now().checked_add(STREAM_HOOK).ok(),
                    Patience::Waits => None,
                };
                if self.do_hook(partner, line, worker, run, until).await? {
                    is_second_look = false;
                    continue;
                }
                // Another run has made something due meanwhile, and left it: the index shows it soon.
                let is_asked = match worker.take() {
                    Some(worker) => worker.end().await?,
                    None => false,
                };
                let is_enough = run.patience == Patience::Leaves || is_second_look;
                if is_enough && !is_asked {
                    return Ok(());
                }
                is_second_look = true;
                sleep(SECOND_LOOK).await;
                continue;
            }
            is_second_look = false;
            let Some(holder) = self.hold(partner, worker, run).await? else {
                match run.patience {
                    Patience::Leaves => return Ok(()),
                    Patience::Waits => sleep(SECOND_LOOK).await,
                }
                continue;
            };
            let row = match holder.choose(line).await? {
                Choice::Do(row) => row,
                Choice::Again => continue,
                Choice::Wait(until) => {
                    let is_long = until.duration_since(clock::now()) >= LONG_WAIT;
                    if is_long
                        && run.patience == Patience::Waits
                        && self
                            .do_hook(partner, line, worker, run, Some(until))
                            .await?
                    {
                        continue;
                    }
                    // Nobody holds the lease while nothing can be called.
                    if let Some(worker) = worker.take() {
                        worker.end().await?;
                    }
                    if run.patience == Patience::Leaves {
                        return Ok(());
                    }
                    if !moved {
                        let wait = until.duration_since(clock::now()).unsigned_abs();
                        sleep(wait.min(NAP)).await;
                    }
                    continue;
                }
            };
            holder.take_and_do(row, line).await?;
        }
        Ok(())
    }

    /// Sets the next messaging webhook, if one is due and the lease can be had. Returns whether it did. `until` ends the
    /// wait for its answer.
    async fn do_hook<'a>(
        &'a self,
        partner: &'a PartnerId,
        line: &mut Line,
        worker: &mut Option<Worker<'a>>,
        run: Run,
        until: Option<jiff::Timestamp>,
    ) -> Result<bool, Stopped> {
        let Some(hook) = self.next_hook(partner, &mut line.hooks).await? else {
            return Ok(false);
        };
        let Some(holder) = self.hold(partner, worker, run).await? else {
            return Ok(false);
        };
        holder.set_webhook(hook, &mut line.hooks, until).await?;
        Ok(true)
    }

    /// The worker of this run, with the lease; `None` while another has it.
    async fn hold<'w, 'a>(
        &'a self,
        partner: &'a PartnerId,
        worker: &'w mut Option<Worker<'a>>,
        run: Run,
    ) -> Result<Option<&'w mut Worker<'a>>, Stopped> {
        if worker.is_none() {
            let access = match self.secrets.get(partner).await {
                Ok(access) => access,
                Err(error) => {
                    tracing::error!(%error, %partner, "the partner secret failed");
                    return Err(Stopped::NoSecret);
                }
            };
            let token = token::fresh();
            let Some(work) = self.works.lease(partner, &token, clock::now()).await? else {
                return Ok(None);
            };
            *worker = Some(Worker {
                provision: self,
                partner,
                access,
                run,
                work,
                lane: Lane::Line,
                token,
            });
        }
        Ok(worker.as_mut())
    }
}

impl<'a> Worker<'a> {
    /// The API with the partner's credentials.
    pub(crate) fn api(&self) -> PartnerClient<'_> {
        let api = &self.provision.api;
        api.for_partner(self.partner, &self.access.credentials)
    }

    /// Chooses what to do now.
    async fn choose(&mut self, line: &Line) -> Result<Choice, Stopped> {
        let now = clock::now();
        let login = usize::from(self.api().needs_login().await);
        let calls = |row: &DueRow| line.calls_of(&row.subject).saturating_add(login);
        let all: Vec<usize> = line.rows.iter().map(calls).collect();
        let background = line.background.as_ref().map(calls);
        let rate = self.provision.settings.rate;
        let row = match self.work.next(rate, &all, background, now) {
            Next::InLine(index) => line.rows.get(index).cloned(),
            Next::Background => line.background.clone(),
            Next::Nothing => None,
            Next::Wait(_) if self.has_new_credentials().await? => None,
            Next::Wait(until) => return Ok(Choice::Wait(until)),
        };
        Ok(row.map_or(Choice::Again, Choice::Do))
    }

    /// After a 401: reads the secret again. Another secret is tried at once.
    async fn has_new_credentials(&mut self) -> Result<bool, Stopped> {
        let stopped = self.work.circuit.stopped(clock::now());
        if !stopped.is_some_and(|(_, why)| why == Stop::BadCredentials) {
            return Ok(false);
        }
        let Ok(access) = self.provision.secrets.reread(self.partner).await else {
            return Ok(false);
        };
        let is_new = !access.credentials.is_same_as(&self.access.credentials);
        if is_new {
            self.access = access;
            self.work.circuit = Circuit::default();
            self.save().await?;
        }
        Ok(is_new)
    }

    /// Takes the item of a row and does its work.
    async fn take_and_do(&mut self, row: DueRow, line: &mut Line) -> Result<(), Stopped> {
        let (queue, now) = (&self.provision.queue, clock::now());
        let entry = queue.entry(&row.subject).await?;
        let is_as_seen = entry.entry.due.is_some_and(|due| {
            let is_up = due.time().is_none_or(|at| at <= now);
            is_up && due.lane() != Lane::Alarm
        });
        let is_as_seen = is_as_seen && entry.order(row.subject.task()) == Some(row.order);
        if !is_as_seen {
            line.pass(&row);
            return Ok(());
        }
        // An item that cannot be read is taken all the same, so that it does not stay at the head.
        let needed = match self.calls_needed(&row.subject).await {
            Err(Stopped::Store(Error::Malformed(_))) => None,
            needed => needed?,
        };
        if let Some(calls) = needed
            && calls > line.calls_of(&row.subject)
        {
            line.calls.insert(row.subject.clone(), calls);
            let rate = self.provision.settings.rate;
            if !self.work.allows(rate, calls, now) {
                return Ok(());
            }
        }
        let token = token::fresh();
        line.pass(&row);
        if queue.take(&row.subject, &entry, &token, now).await? == Write::Conflict {
            return Ok(());
        }
        self.lane = entry.entry.due.map_or(Lane::Line, Due::lane);
        if self.lane.is_background() {
            self.work.had_background();
        }
        // An item that passes the head of the line does not move it on.
        let is_head = line.rows.first() == Some(&row);
        if let Some(place) = entry.entry.due.and_then(Due::place).filter(|_| is_head) {
            self.work.place = self.work.place.or_later(place);
        }
        let taken = Taken {
            subject: row.subject,
            entry,
            token,
        };
        let result = self.do_work(&taken).await;
        if let Subject::Channel(id) = &taken.subject {
            line.hooks.fresh.push(id.clone());
        }
        let next = match result {
            Ok(next) => next,
            // A list of so many pages begins anew, behind the others: it must not hold up the line.
            Err(Stopped::NoTime) => {
                let failures = taken.entry.failures.saturating_add(1);
                let due = RetryAt::Later(None).due(clock::now(), failures, None);
                NextTime { due, failures }
            }
            Err(Stopped::Store(Error::Malformed(what))) => {
                tracing::error!(subject = ?taken.subject, what, "due work is not in the form we write: it is tried again in a minute");
                return Ok(());
            }
            Err(stopped) => return Err(stopped),
        };
        // Else a run that ends here would forget it with the work done.
        if self.work.circuit.stopped(clock::now()).is_some() {
            self.save().await?;
        }
        let NextTime { due, failures } = next;
        // Nobody waits for what came from the background, and nobody pays for it.
        let due = due.map(|due| match due {
            Due::InLine(_) | Due::At { .. } if self.lane.is_background() => {
                Due::Background(due.time().unwrap_or(clock::now()))
            }
            due => due,
        });
        let (subject, token) = (&taken.subject, &taken.token);
        queue
            .done(subject, token, due, failures, clock::now())
            .await?;
        Ok(())
    }

    async fn do_work(&mut self, taken: &Taken) -> Result<NextTime, Stopped> {
        match &taken.subject {
            Subject::Client(_, client) => self.look(client, taken).await,
            Subject::Channel(channel) => self.do_key(channel, taken).await,
            Subject::Sweep(_) => self.sweep(taken).await,
            Subject::Claim(..) => Ok(NextTime {
                due: None,
                failures: 0,
            }),
        }
    }

    /// Waits until a call may be sent, makes the login that it needs, and counts it. The error is that of the login.
    pub(crate) async fn prepare_call(
        &mut self,
        about: &str,
    ) -> Result<Result<(), ApiError>, Stopped> {
        let login = self.log_in_if_needed(about).await?;
        if login.is_ok() {
            self.count_call().await?;
        }
        Ok(login)
    }

    /// Makes the login that the next call needs, which is a call of its own.
    pub(crate) async fn log_in_if_needed(
        &mut self,
        about: &str,
    ) -> Result<Result<(), ApiError>, Stopped> {
        if !self.api().needs_login().await {
            return Ok(Ok(()));
        }
        self.count_call().await?;
        let login = self.api().log_in().await;
        self.hear_result(&login, about);
        Ok(login.map(drop))
    }

    /// Writes the time of a call that is sent right afterwards, once the limit allows it.
    pub(crate) async fn count_call(&mut self) -> Result<(), Stopped> {
        let rate = self.provision.settings.rate;
        for _ in 0..MOST_WRITES {
            let now = self.wait_for_a_call().await?;
            let before = self.work.clone();
            let at = self.work.count(rate, self.lane, now);
            self.save().await?;
            let since = clock::now().duration_since(at);
            if since.is_negative() {
                sleep(since.unsigned_abs()).await;
            }
            if since <= SENT_WITHIN {
                return Ok(());
            }
            // It was written too slowly, and is written again with a new time.
            self.work = before;
        }
        let slow = Error::Unavailable("the table is too slow to count calls".to_owned());
        Err(Stopped::Store(slow))
    }

    /// Waits until the limit allows a call, and returns the time.
    pub(crate) async fn wait_for_a_call(&mut self) -> Result<jiff::Timestamp, Stopped> {
        loop {
            let now = clock::now();
            let then = self.work.fits_at(self.provision.settings.rate, 1, now);
            if then <= now {
                return Ok(now);
            }
            let wait = then.duration_since(now).unsigned_abs();
            if Instant::now() + wait > self.run.until {
                return Err(Stopped::NoTime);
            }
            sleep(wait.min(NAP)).await;
            self.save().await?;
        }
    }

    /// Whether a refusal was that of a token that may have expired: then the call may be made once more, with another. The
    /// first refusal says nothing about the credentials.
    pub(crate) fn tries_another_token(&self, kind: ErrorKind, tried: &mut bool) -> bool {
        let is_login = matches!(self.access.credentials, Credentials::Login(_));
        let tries = is_login && kind == ErrorKind::BadCredentials && !*tried;
        *tried |= tries;
        tries
    }

    /// Draws conclusions for the next calls from the answer to a read about `about`.
    pub(crate) fn hear_result<T>(&mut self, result: &Result<T, ApiError>, about: &str) {
        let heard = match result {
            Ok(_) => Heard::Answer,
            Err(why) => heard(why.kind),
        };
        self.hear(heard, about);
    }

    /// The same from anything heard.
    pub(crate) fn hear(&mut self, heard: Heard, about: &str) {
        self.work.circuit.hear(heard, about, clock::now());
        if let Some((until, why)) = self.work.circuit.stopped(clock::now()) {
            tracing::warn!(partner = %self.partner, ?why, %until, "360dialog is not called for a while");
        }
    }

    /// Whether what was taken is to be compared: in any other lane a stored key costs no call.
    pub(crate) fn compares(&self) -> bool {
        self.lane == Lane::Comparison
    }

    /// Whether one more lost key may be made again today, of `most`.
    pub(crate) fn may_replace(&self, most: usize) -> bool {
        self.work.may_replace(most, clock::now())
    }

    /// Counts a lost key that is made again.
    pub(crate) async fn count_replaced(&mut self) -> Result<(), Stopped> {
        self.work.replaced(clock::now());
        self.save().await
    }

    pub(crate) async fn save(&mut self) -> Result<(), Stopped> {
        let works = &self.provision.works;
        let now = clock::now();
        match works
            .save(self.partner, &self.token, &self.work, now)
            .await?
        {
            Write::Done => Ok(()),
            Write::Conflict => Err(Stopped::LeaseLost),
        }
    }

    /// Ends the lease. Returns whether another run has asked for it a moment ago.
    async fn end(self) -> Result<bool, Error> {
        let works = &self.provision.works;
        let released = works.release(self.partner, &self.token, &self.work);
        let asked = released.await?.asked_at;
        let age = asked.map(|at| clock::now().duration_since(at));
        Ok(age.is_some_and(|age| age < ASKED_LATELY))
    }
}

fn heard(kind: ErrorKind) -> Heard {
    match kind {
        ErrorKind::RateLimited(wait) => Heard::RateLimited(wait),
        ErrorKind::BadCredentials => Heard::BadCredentials,
        ErrorKind::Silent => Heard::Nothing,
        _ => Heard::Answer,
    }
}
