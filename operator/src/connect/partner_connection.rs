//! One partner: what 360dialog points to, what is kept, and the change from one to the other.

use dialog360::client::ApiError;
use dialog360::id::PartnerId;
use onboarding::secret::{PartnerAccess, SecretError, SigningSecrets};
use runtime::secrets::SecretUnavailable;
use runtime::tls::NoTls;
use store::{Connections, Error as StoreError, Kept, StoredKept, Write};

use super::decide::{self, Back, OnConflict, Seen, Step, is_same};
use super::patient_client::{PatientClient, advice};
use super::probe::{BundleError, Probe};
use super::target::Target;
use crate::reporter::{Reporter, shown};

/// Why a partner could not be connected; says what to do.
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
    #[error("{}", advice(.0))]
    Api(#[from] ApiError),
    #[error("{0}. Nothing was changed at 360dialog")]
    Bundle(BundleError),
    #[error("the bundle's table cannot be read or written ({0}): {1}")]
    Table(StoreError, String),
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
    Untold(String),
    #[error(
        "360dialog took the {0}, but still names {1}: set it in your hub by hand, or ask 360dialog"
    )]
    Unchanged(&'static str, String),
    #[error("the {0} is ours, but no old one was kept: change it in your hub by hand")]
    NothingKept(&'static str),
    #[error(
        "what the {0} was before is not known, or what it is now is not told: change it in your hub by hand"
    )]
    NotKnown(&'static str),
}

const WEBHOOK: &str = "webhook URL";
const REDIRECT: &str = "redirect URL";

/// What 360dialog points to.
#[derive(Clone, Debug)]
pub(crate) struct Now {
    pub(crate) webhook: Seen,
    pub(crate) redirect: Seen,
}

/// One partner, connected to the bundle or about to be.
pub(crate) struct PartnerConnection<'t> {
    target: &'t Target<'t>,
    partner: PartnerId,
    signing: SigningSecrets,
    pub(super) client: PatientClient,
    pub(super) probe: Probe,
    webhook: String,
    redirect: String,
}

impl<'t> PartnerConnection<'t> {
    /// Reads the partner's secret; asks nobody else yet.
    pub(crate) async fn open(
        target: &'t Target<'t>,
        partner: &PartnerId,
    ) -> Result<Self, ConnectError> {
        let place = || target.instance().secret_place(partner);
        let secret = target
            .parts()
            .secrets
            .read(partner)
            .await
            .map_err(|why| match why {
                SecretUnavailable::Missing => ConnectError::NoSecret(place()),
                SecretUnavailable::Unreachable(why) => ConnectError::SecretUnread(place(), why),
                SecretUnavailable::Malformed(why) => ConnectError::BadSecret(place(), why),
            })?;
        let bad = |why| ConnectError::BadSecret(place(), why);
        let signing = SigningSecrets::parse(secret.expose()).map_err(bad)?;
        let access = PartnerAccess::parse(secret.expose()).map_err(bad)?;
        let (parts, is_simulated) = (target.parts(), target.is_simulated());
        let client = PatientClient::new(parts, is_simulated, partner, access.credentials)?;
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

    /// What connecting would do, in words; changes nothing.
    pub(crate) async fn preview(
        &self,
        now: &Now,
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
                Step::LeaveUntold => {
                    format!(
                        "the {name} is not told by 360dialog: it would be left, without --replace"
                    )
                }
            };
        Ok(vec![
            step(WEBHOOK, &now.webhook, &self.webhook, kept.webhook.as_ref()),
            step(
                REDIRECT,
                &now.redirect,
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
        let now = self.read_current(reporter).await?;
        let mut stored = self.kept().await?;
        let webhook = decide::connect(
            &now.webhook,
            &self.webhook,
            stored.kept.webhook.as_ref(),
            on_conflict,
        );
        let redirect = decide::connect(
            &now.redirect,
            &self.redirect,
            stored.kept.redirect.as_ref(),
            on_conflict,
        );
        refuse_foreign(&webhook, &redirect)?;
        if webhook == Step::LeaveUntold
            && let Seen::Untold(why) = &now.webhook
        {
            return Err(ConnectError::Untold(why.clone()));
        }
        self.test_bundle(reporter).await?;
        self.keep(&mut stored, &webhook, &redirect, reporter)
            .await?;
        self.set_webhook(&webhook, reporter).await?;
        self.set_redirect(&redirect, reporter).await
    }

    /// Puts back what was there before, where the bundle's address stands now.
    pub(crate) async fn remove(&mut self, reporter: &mut Reporter<'_>) -> Result<(), ConnectError> {
        let now = self.read_current(reporter).await?;
        let mut stored = self.kept().await?;
        let webhook = decide::remove(&now.webhook, &self.webhook, stored.kept.webhook.as_ref());
        let redirect = decide::remove(&now.redirect, &self.redirect, stored.kept.redirect.as_ref());
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

    /// Asks 360dialog what it points to, and says it beside what would be ours.
    pub(crate) async fn read_current(
        &mut self,
        reporter: &mut Reporter<'_>,
    ) -> Result<Now, ConnectError> {
        let webhook = self.client.webhook_url(reporter).await?;
        let redirect = self.redirect_now(reporter).await?;
        for (name, seen, ours) in [
            (WEBHOOK, &webhook, &self.webhook),
            (REDIRECT, &redirect, &self.redirect),
        ] {
            reporter.item(name, &format!("is       {}", in_words(seen)));
            reporter.item("", &format!("bundle's {}", shown(ours)));
        }
        Ok(Now { webhook, redirect })
    }

    /// Reading the redirect URL is not documented, so a refusal of it alone is no trouble.
    async fn redirect_now(&mut self, reporter: &mut Reporter<'_>) -> Result<Seen, ApiError> {
        match self.client.redirect_url(reporter).await {
            Err(ApiError::NotPermitted) => Ok(Seen::Untold("HTTP 403".to_owned())),
            Err(ApiError::Status(status)) => Ok(Seen::Untold(format!("HTTP {status}"))),
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
        read.map_err(|why| ConnectError::Table(why, self.target.instance().table_advice()))
    }

    async fn save(&self, stored: &mut StoredKept) -> Result<(), ConnectError> {
        let saved = Connections::new(self.target.instance().table().clone())
            .save(&self.partner, stored)
            .await;
        match saved
            .map_err(|why| ConnectError::Table(why, self.target.instance().table_advice()))?
        {
            Write::Done => Ok(()),
            Write::Conflict => Err(ConnectError::Race),
        }
    }

    /// Keeps what is about to be replaced, before it is.
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
            Step::LeaveUntold => {
                let words = "was left, since 360dialog does not tell it; links made by the bundle name their own. \
                             Set it in your hub by hand, or with --replace";
                reporter.item(REDIRECT, words);
            }
            _ => {
                let ours = self.redirect.clone();
                match self.change_redirect(Some(&ours), reporter).await? {
                    Seen::Untold(_) => reporter.item(
                        REDIRECT,
                        "was set; 360dialog does not tell it, so look in your hub",
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
            Back::Untold => return Err(ConnectError::NotKnown(name)),
        };
        if name == WEBHOOK {
            self.change_webhook(url, reporter).await?;
        } else {
            self.change_redirect(url, reporter).await?;
        }
        reporter.item(
            name,
            &format!("is {} again", url.map_or("none".to_owned(), shown)),
        );
        Ok(Done::PutBack)
    }

    /// Sets the webhook URL and reads it back: an error may come with a change, and a success without one.
    async fn change_webhook(
        &mut self,
        url: Option<&str>,
        reporter: &mut Reporter<'_>,
    ) -> Result<(), ConnectError> {
        let answer = self.client.set_webhook_url(url, reporter).await;
        let seen = self.client.webhook_url(reporter).await?;
        judge(WEBHOOK, answer, &seen, url)
    }

    /// The same with the redirect URL, which may not be told; gives back what is.
    async fn change_redirect(
        &mut self,
        url: Option<&str>,
        reporter: &mut Reporter<'_>,
    ) -> Result<Seen, ConnectError> {
        let answer = self.client.set_redirect_url(url, reporter).await;
        let seen = self.redirect_now(reporter).await?;
        judge(REDIRECT, answer, &seen, url)?;
        Ok(seen)
    }
}

/// Outcome of putting back.
enum Done {
    PutBack,
    Left,
}

fn refuse_foreign(webhook: &Step, redirect: &Step) -> Result<(), ConnectError> {
    let words = match (webhook == &Step::Refuse, redirect == &Step::Refuse) {
        (true, true) => "the webhook URL and the redirect URL are",
        (true, false) => "the webhook URL is",
        (false, true) => "the redirect URL is",
        (false, false) => return Ok(()),
    };
    Err(ConnectError::Foreign(words.to_owned()))
}

/// Whether a change has come about, whatever it was answered.
fn judge(
    name: &'static str,
    answer: Result<(), ApiError>,
    seen: &Seen,
    wanted: Option<&str>,
) -> Result<(), ConnectError> {
    let is_set = match (seen, wanted) {
        (Seen::Url(url), Some(wanted)) => is_same(url, wanted),
        (Seen::Nothing, None) => true,
        (Seen::Untold(_), _) => answer.is_ok(),
        _ => false,
    };
    if is_set {
        return Ok(());
    }
    answer?;
    Err(ConnectError::Unchanged(name, in_words(seen)))
}

fn in_words(seen: &Seen) -> String {
    match seen {
        Seen::Url(url) => shown(url),
        Seen::Nothing => "none".to_owned(),
        Seen::Untold(why) => format!("unknown, 360dialog does not tell it ({why})"),
    }
}
