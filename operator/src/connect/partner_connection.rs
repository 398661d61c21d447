//! The connection of one partner: its addresses at 360dialog, the kept ones, and the change from one to the other.

use dialog360::client::ErrorKind;
use dialog360::id::PartnerId;
use onboarding::secret::{PartnerAccess, SecretError, SigningSecrets};
use runtime::secrets::SecretUnavailable;
use runtime::tls::NoTls;
use store::{Connections, Error as StoreError, Kept, StoredKept, Write};

use super::call_error::CallError;
use super::decide::{self, Back, OnConflict, Seen, Step, is_same};
use super::probe::{BundleError, Probe};
use super::rate_limited_client::RateLimitedClient;
use super::target::Target;
use crate::reporter::{Reporter, redacted};

/// Why a partner could not be connected. The message says what to do.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    #[error(
        "{0} is missing: create it with platform_secret and partner_api_key, and run the command again"
    )]
    NoSecret(String),
    #[error(
        "{0} cannot be read ({1}): check your credentials; on AWS they need secretsmanager:GetSecretValue"
    )]
    SecretUnread(String, String),
    #[error("{0} cannot be used: {1}")]
    BadSecret(String, SecretError),
    #[error(transparent)]
    NoTls(#[from] NoTls),
    #[error(transparent)]
    Call(#[from] CallError),
    #[error("{0}. Nothing was changed at 360dialog")]
    Bundle(BundleError),
    #[error("somebody else connects this partner at the same time: run the command again")]
    Race,
    #[error(
        "{0} somebody else's: nothing was changed. --replace keeps the old address and puts the bundle's in its place"
    )]
    Foreign(String),
    #[error(
        "360dialog does not tell its webhook URL ({0}): nothing was changed. --replace sets the bundle's all the \
         same; what was there cannot be put back then"
    )]
    WebhookUnknown(String),
    #[error(
        "360dialog took the {0}, but still names {1}: set it at 360dialog by hand, or ask 360dialog"
    )]
    Unchanged(&'static str, String),
    #[error("the {0} is ours, but no old one was kept: change it at 360dialog by hand")]
    NothingKept(&'static str),
    #[error(
        "what the {0} was before is not known, or what it is now is not told: change it at 360dialog by hand"
    )]
    NotKnown(&'static str),
}

const WEBHOOK: &str = "webhook URL";
const REDIRECT: &str = "redirect URL";

/// The addresses at 360dialog.
#[derive(Clone, Debug)]
pub(crate) struct CurrentAddresses {
    pub(crate) webhook: Seen,
    pub(crate) redirect: Seen,
}

/// One partner that is connected to the bundle, or is about to be.
pub(crate) struct PartnerConnection<'t> {
    target: &'t Target<'t>,
    partner: PartnerId,
    signing: SigningSecrets,
    pub(super) client: RateLimitedClient<'t>,
    pub(super) probe: Probe,
    webhook: String,
    redirect: String,
}

impl<'t> PartnerConnection<'t> {
    /// Reads the partner's secret; calls neither 360dialog nor the bundle.
    pub(crate) async fn open(
        target: &'t Target<'t>,
        partner: &PartnerId,
    ) -> Result<Self, ConnectError> {
        let location = || target.instance().secret_location(partner);
        let secret = target
            .connection_settings()
            .secrets
            .read(partner)
            .await
            .map_err(|why| match why {
                SecretUnavailable::Missing => ConnectError::NoSecret(location()),
                SecretUnavailable::Unreachable(why) => ConnectError::SecretUnread(location(), why),
                SecretUnavailable::Malformed(why) => ConnectError::BadSecret(location(), why),
            })?;
        let bad = |why| ConnectError::BadSecret(location(), why);
        let signing = SigningSecrets::parse(secret.expose()).map_err(bad)?;
        let access = PartnerAccess::parse(secret.expose()).map_err(bad)?;
        let client = RateLimitedClient::new(target, partner, access.credentials)?;
        let webhook = format!("{}/{partner}/webhook", target.address());
        let redirect = format!("{}/{partner}/redirect", target.address());
        let probe = Probe::new(&webhook, partner)?;
        Ok(Self {
            target,
            partner: partner.clone(),
            signing,
            client,
            probe,
            webhook,
            redirect,
        })
    }

    /// The partner.
    pub(crate) fn partner(&self) -> &PartnerId {
        &self.partner
    }

    /// The bundle.
    pub(crate) fn target(&self) -> &'t Target<'t> {
        self.target
    }

    /// Describes what connecting would do; changes nothing.
    pub(crate) async fn preview(
        &self,
        current: &CurrentAddresses,
        on_conflict: OnConflict,
    ) -> Result<Vec<String>, ConnectError> {
        let kept = self.kept().await?.kept;
        let step =
            |name, seen, ours: &str, kept| match decide::connect(seen, ours, kept, on_conflict) {
                Step::IsOurs => format!("the {name} is the bundle's already"),
                Step::Set(_) => format!("the {name} would become the bundle's"),
                Step::Refuse => {
                    format!("the {name} is somebody else's: only --replace would change anything")
                }
                Step::LeaveUnknown => {
                    format!(
                        "the {name} is not told by 360dialog: it would be left, without --replace"
                    )
                }
            };
        Ok(vec![
            step(
                WEBHOOK,
                &current.webhook,
                &self.webhook,
                kept.webhook.as_ref(),
            ),
            step(
                REDIRECT,
                &current.redirect,
                &self.redirect,
                kept.redirect.as_ref(),
            ),
        ])
    }

    /// Points 360dialog at the bundle, once the bundle has shown that it takes the partner's events.
    pub(crate) async fn connect(
        &mut self,
        on_conflict: OnConflict,
        reporter: &mut Reporter<'_>,
    ) -> Result<(), ConnectError> {
        let current = self.read_current(reporter).await?;
        let mut stored = self.kept().await?;
        let webhook = decide::connect(
            &current.webhook,
            &self.webhook,
            stored.kept.webhook.as_ref(),
            on_conflict,
        );
        let redirect = decide::connect(
            &current.redirect,
            &self.redirect,
            stored.kept.redirect.as_ref(),
            on_conflict,
        );
        refuse_foreign(&webhook, &redirect)?;
        if webhook == Step::LeaveUnknown
            && let Seen::Unknown(why) = &current.webhook
        {
            return Err(ConnectError::WebhookUnknown(why.clone()));
        }
        self.test_bundle(reporter).await?;
        self.keep(&mut stored, &webhook, &redirect, reporter)
            .await?;
        self.set_webhook(&webhook, reporter).await?;
        self.set_redirect(&redirect, reporter).await
    }

    /// Puts back the kept addresses where 360dialog has the bundle's.
    pub(crate) async fn remove(&mut self, reporter: &mut Reporter<'_>) -> Result<(), ConnectError> {
        let current = self.read_current(reporter).await?;
        let mut stored = self.kept().await?;
        let webhook = decide::remove(
            &current.webhook,
            &self.webhook,
            stored.kept.webhook.as_ref(),
        );
        let redirect = decide::remove(
            &current.redirect,
            &self.redirect,
            stored.kept.redirect.as_ref(),
        );
        let webhook = self.put_back(WEBHOOK, &webhook, reporter).await;
        let redirect = self.put_back(REDIRECT, &redirect, reporter).await;
        let is_done = |done: &Result<Done, ConnectError>| matches!(done, Ok(Done::PutBack));
        let before = stored.kept.clone();
        stored.kept = Kept {
            webhook: stored.kept.webhook.filter(|_| !is_done(&webhook)),
            redirect: stored.kept.redirect.filter(|_| !is_done(&redirect)),
        };
        if stored.kept != before {
            self.save(&mut stored).await?;
        }
        if let Err(why) = &redirect {
            reporter.trouble(&why.to_string());
        }
        webhook.map(drop)
    }

    /// Reads the addresses from 360dialog, and prints them beside the bundle's.
    pub(crate) async fn read_current(
        &mut self,
        reporter: &mut Reporter<'_>,
    ) -> Result<CurrentAddresses, ConnectError> {
        let webhook = self.client.webhook_url(reporter).await?;
        let redirect = self.current_redirect(reporter).await?;
        for (name, seen, ours) in [
            (WEBHOOK, &webhook, &self.webhook),
            (REDIRECT, &redirect, &self.redirect),
        ] {
            reporter.item(name, &format!("is       {}", describe(seen)));
            reporter.item("", &format!("bundle's {}", redacted(ours)));
        }
        Ok(CurrentAddresses { webhook, redirect })
    }

    /// Reads the redirect URL. That is not documented, so a refusal is no error.
    async fn current_redirect(&mut self, reporter: &mut Reporter<'_>) -> Result<Seen, CallError> {
        match self.client.redirect_url(reporter).await {
            Err(CallError::Api(why)) => match why.kind {
                ErrorKind::NotPermitted => Ok(Seen::Unknown("HTTP 403".to_owned())),
                ErrorKind::Status(status) => Ok(Seen::Unknown(format!("HTTP {status}"))),
                _ => Err(why.into()),
            },
            answer => answer,
        }
    }

    async fn test_bundle(&self, reporter: &mut Reporter<'_>) -> Result<(), ConnectError> {
        self.probe
            .refuses_unsigned()
            .await
            .map_err(ConnectError::Bundle)?;
        self.probe
            .takes_signed(self.signing.current())
            .await
            .map_err(ConnectError::Bundle)?;
        reporter.item(
            "bundle",
            "takes a signed test event and refuses an unsigned one",
        );
        Ok(())
    }

    async fn kept(&self) -> Result<StoredKept, ConnectError> {
        let read = Connections::new(self.target.instance().table().clone())
            .read(&self.partner)
            .await;
        read.map_err(|why| self.table_failed(why))
    }

    /// The error for a failure of the table.
    pub(crate) fn table_failed(&self, why: StoreError) -> ConnectError {
        CallError::Table(why, self.target.instance().table_advice()).into()
    }

    async fn save(&self, stored: &mut StoredKept) -> Result<(), ConnectError> {
        let saved = Connections::new(self.target.instance().table().clone())
            .save(&self.partner, stored)
            .await;
        match saved.map_err(|why| self.table_failed(why))? {
            Write::Done => Ok(()),
            Write::Conflict => Err(ConnectError::Race),
        }
    }

    /// Saves the old addresses before they are replaced.
    async fn keep(
        &self,
        stored: &mut StoredKept,
        webhook: &Step,
        redirect: &Step,
        reporter: &mut Reporter<'_>,
    ) -> Result<(), ConnectError> {
        let before = stored.kept.clone();
        if let Step::Set(kept) = webhook {
            stored.kept.webhook = Some(kept.clone());
        }
        if let Step::Set(kept) = redirect {
            stored.kept.redirect = Some(kept.clone());
        }
        if stored.kept == before {
            return Ok(());
        }
        self.save(stored).await?;
        reporter.item(
            "kept",
            "what was there, in the bundle's table; --remove puts it back",
        );
        Ok(())
    }

    async fn set_webhook(
        &mut self,
        step: &Step,
        reporter: &mut Reporter<'_>,
    ) -> Result<(), ConnectError> {
        if *step == Step::IsOurs {
            reporter.item(WEBHOOK, "is the bundle's already");
            return Ok(());
        }
        let ours = self.webhook.clone();
        self.change_webhook(Some(&ours), reporter).await?;
        reporter.item(WEBHOOK, "is the bundle's now");
        Ok(())
    }

    async fn set_redirect(
        &mut self,
        step: &Step,
        reporter: &mut Reporter<'_>,
    ) -> Result<(), ConnectError> {
        match step {
            Step::IsOurs => reporter.item(REDIRECT, "is the bundle's already"),
            Step::LeaveUnknown => {
                let text = "was left, since 360dialog does not tell it; links made by the bundle name their own. \
                             Set it at 360dialog by hand, or with --replace";
                reporter.item(REDIRECT, text);
            }
            _ => {
                let ours = self.redirect.clone();
                match self.change_redirect(Some(&ours), reporter).await? {
                    Seen::Unknown(_) => reporter.item(
                        REDIRECT,
                        "was set; 360dialog does not tell it, so check it at 360dialog",
                    ),
                    _ => reporter.item(REDIRECT, "is the bundle's now"),
                }
            }
        }
        Ok(())
    }

    async fn put_back(
        &mut self,
        name: &'static str,
        back: &Back,
        reporter: &mut Reporter<'_>,
    ) -> Result<Done, ConnectError> {
        let url = match back {
            Back::Put(url) => url.as_deref(),
            Back::NotOurs => {
                reporter.item(name, "is not the bundle's: left as it is");
                return Ok(Done::Left);
            }
            Back::NothingKept => return Err(ConnectError::NothingKept(name)),
            Back::Unknown => return Err(ConnectError::NotKnown(name)),
        };
        if name == WEBHOOK {
            self.change_webhook(url, reporter).await?;
        } else {
            self.change_redirect(url, reporter).await?;
        }
        reporter.item(
            name,
            &format!("is {} again", url.map_or("none".to_owned(), redacted)),
        );
        Ok(Done::PutBack)
    }

    /// Sets the webhook URL and reads it back: it may have changed despite an error, or not have changed despite a
    /// success.
    async fn change_webhook(
        &mut self,
        url: Option<&str>,
        reporter: &mut Reporter<'_>,
    ) -> Result<(), ConnectError> {
        let answer = self.client.set_webhook_url(url, reporter).await;
        let seen = self.client.webhook_url(reporter).await?;
        check_change(WEBHOOK, answer, &seen, url)
    }

    /// The same for the redirect URL, which 360dialog may not return. Returns its value.
    async fn change_redirect(
        &mut self,
        url: Option<&str>,
        reporter: &mut Reporter<'_>,
    ) -> Result<Seen, ConnectError> {
        let answer = self.client.set_redirect_url(url, reporter).await;
        let seen = self.current_redirect(reporter).await?;
        check_change(REDIRECT, answer, &seen, url)?;
        Ok(seen)
    }
}

/// Outcome of putting an address back.
enum Done {
    PutBack,
    Left,
}

fn refuse_foreign(webhook: &Step, redirect: &Step) -> Result<(), ConnectError> {
    let text = match (webhook == &Step::Refuse, redirect == &Step::Refuse) {
        (true, true) => "the webhook URL and the redirect URL are",
        (true, false) => "the webhook URL is",
        (false, true) => "the redirect URL is",
        (false, false) => return Ok(()),
    };
    Err(ConnectError::Foreign(text.to_owned()))
}

/// Checks that an address has changed, whatever the answer to the change was.
fn check_change(
    name: &'static str,
    answer: Result<(), CallError>,
    seen: &Seen,
    wanted: Option<&str>,
) -> Result<(), ConnectError> {
    let is_set = match (seen, wanted) {
        (Seen::Url(url), Some(wanted)) => is_same(url, wanted),
        (Seen::Nothing, None) => true,
        (Seen::Unknown(_), _) => answer.is_ok(),
        _ => false,
    };
    if is_set {
        return Ok(());
    }
    answer?;
    Err(ConnectError::Unchanged(name, describe(seen)))
}

fn describe(seen: &Seen) -> String {
    match seen {
        Seen::Url(url) => redacted(url),
        Seen::Nothing => "none".to_owned(),
        Seen::Unknown(why) => format!("unknown, 360dialog does not tell it ({why})"),
    }
}
