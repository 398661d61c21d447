//! One partner: what 360dialog points to, what is kept, and the change from one to the other.

use onboarding::id::PartnerId;
use onboarding::secret::{HubAccess, SecretError, SigningSecrets};
use platform::secrets::SecretUnavailable;
use platform::store::{Connections, Error as StoreError, Kept, Saved, StoredKept};
use platform::tls::NoTls;

use super::decide::{self, Back, Foreign, Seen, Step, is_same};
use super::partner_api::{ApiError, PartnerApi};
use super::probe::{BundleError, Probe};
use super::target::Target;
use super::voice::{Voice, shown};

/// Why a partner could not be connected; says what to do.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Trouble {
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
    #[error("{0}")]
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

/// One partner's way to the bundle.
pub(crate) struct Visit<'t> {
    target: &'t Target,
    partner: PartnerId,
    signing: SigningSecrets,
    pub(super) api: PartnerApi,
    pub(super) probe: Probe,
    webhook: String,
    redirect: String,
}

impl<'t> Visit<'t> {
    /// Reads the partner's secret; asks nobody else yet.
    pub(crate) async fn open(target: &'t Target, partner: &PartnerId) -> Result<Self, Trouble> {
        let place = || target.secret_of(partner);
        let secret = target
            .secrets()
            .read(partner)
            .await
            .map_err(|why| match why {
                SecretUnavailable::Missing => Trouble::NoSecret(place()),
                SecretUnavailable::Unreachable(why) => Trouble::SecretUnread(place(), why),
                SecretUnavailable::Malformed(why) => Trouble::BadSecret(place(), why),
            })?;
        let bad = |why| Trouble::BadSecret(place(), why);
        let signing = SigningSecrets::parse(secret.expose()).map_err(bad)?;
        let access = HubAccess::parse(secret.expose()).map_err(bad)?;
        let api = PartnerApi::new(
            target.api(),
            target.keys_path(),
            partner,
            access.credentials,
            target.rate(),
        )?;
        let webhook = format!("{}/{partner}/webhook", target.address());
        let redirect = format!("{}/{partner}/redirect", target.address());
        let probe = Probe::new(&webhook, partner)?;
        Ok(Self {
            target,
            partner: partner.clone(),
            signing,
            api,
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
    pub(crate) fn target(&self) -> &'t Target {
        self.target
    }

    /// What connecting would do, in words; changes nothing.
    pub(crate) async fn outlook(
        &self,
        now: &Now,
        foreign: Foreign,
    ) -> Result<Vec<String>, Trouble> {
        let kept = self.kept().await?.kept;
        let of = |name, seen, ours: &str, kept| match decide::connect(seen, ours, kept, foreign) {
            Step::IsOurs => format!("the {name} is the bundle's already"),
            Step::Set(_) => format!("the {name} would become the bundle's"),
            Step::Refuse => {
                format!("the {name} is somebody else's: only --replace would change anything")
            }
            Step::LeaveUntold => {
                format!("the {name} is not told by 360dialog: it would be left, without --replace")
            }
        };
        Ok(vec![
            of(WEBHOOK, &now.webhook, &self.webhook, kept.webhook.as_ref()),
            of(
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
        foreign: Foreign,
        voice: &mut Voice<'_>,
    ) -> Result<(), Trouble> {
        let now = self.look(voice).await?;
        let mut stored = self.kept().await?;
        let webhook = decide::connect(
            &now.webhook,
            &self.webhook,
            stored.kept.webhook.as_ref(),
            foreign,
        );
        let redirect = decide::connect(
            &now.redirect,
            &self.redirect,
            stored.kept.redirect.as_ref(),
            foreign,
        );
        refuse_foreign(&webhook, &redirect)?;
        if webhook == Step::LeaveUntold
            && let Seen::Untold(why) = &now.webhook
        {
            return Err(Trouble::Untold(why.clone()));
        }
        self.test_bundle(voice).await?;
        self.keep(&mut stored, &webhook, &redirect, voice).await?;
        self.set_webhook(&webhook, voice).await?;
        self.set_redirect(&redirect, voice).await
    }

    /// Puts back what was there before, where the bundle's address stands now.
    pub(crate) async fn remove(&mut self, voice: &mut Voice<'_>) -> Result<(), Trouble> {
        let now = self.look(voice).await?;
        let mut stored = self.kept().await?;
        let webhook = decide::remove(&now.webhook, &self.webhook, stored.kept.webhook.as_ref());
        let redirect = decide::remove(&now.redirect, &self.redirect, stored.kept.redirect.as_ref());
        let webhook = self.put_back(WEBHOOK, &webhook, voice).await;
        let redirect = self.put_back(REDIRECT, &redirect, voice).await;
        let is_done = |done: &Result<Done, Trouble>| matches!(done, Ok(Done::PutBack));
        let before = stored.kept.clone();
        stored.kept = Kept {
            webhook: stored.kept.webhook.filter(|_| !is_done(&webhook)),
            redirect: stored.kept.redirect.filter(|_| !is_done(&redirect)),
        };
        if stored.kept != before {
            self.save(&mut stored).await?;
        }
        if let Err(why) = &redirect {
            voice.trouble(&why.to_string());
        }
        webhook.map(drop)
    }

    /// Asks 360dialog what it points to, and says it beside what would be ours.
    pub(crate) async fn look(&mut self, voice: &mut Voice<'_>) -> Result<Now, Trouble> {
        let webhook = self.api.webhook_url(voice).await?;
        let redirect = self.redirect_now(voice).await?;
        for (name, seen, ours) in [
            (WEBHOOK, &webhook, &self.webhook),
            (REDIRECT, &redirect, &self.redirect),
        ] {
            voice.tell(name, &format!("is       {}", in_words(seen)));
            voice.tell("", &format!("bundle's {}", shown(ours)));
        }
        Ok(Now { webhook, redirect })
    }

    /// Reading the redirect URL is not documented, so a refusal of it alone is no trouble.
    async fn redirect_now(&mut self, voice: &mut Voice<'_>) -> Result<Seen, ApiError> {
        match self.api.redirect_url(voice).await {
            Err(ApiError::NotPermitted) => Ok(Seen::Untold("HTTP 403".to_owned())),
            Err(ApiError::Status(status)) => Ok(Seen::Untold(format!("HTTP {status}"))),
            answer => answer,
        }
    }

    async fn test_bundle(&self, voice: &mut Voice<'_>) -> Result<(), Trouble> {
        self.probe
            .refuses_unsigned()
            .await
            .map_err(Trouble::Bundle)?;
        self.probe
            .takes_signed(self.signing.current())
            .await
            .map_err(Trouble::Bundle)?;
        voice.tell(
            "bundle",
            "takes a signed test event and refuses an unsigned one",
        );
        Ok(())
    }

    async fn kept(&self) -> Result<StoredKept, Trouble> {
        let read = Connections::new(self.target.table().clone())
            .read(&self.partner)
            .await;
        read.map_err(|why| Trouble::Table(why, self.target.table_advice()))
    }

    async fn save(&self, stored: &mut StoredKept) -> Result<(), Trouble> {
        let saved = Connections::new(self.target.table().clone())
            .save(&self.partner, stored)
            .await;
        match saved.map_err(|why| Trouble::Table(why, self.target.table_advice()))? {
            Saved::Done => Ok(()),
            Saved::Outdated => Err(Trouble::Race),
        }
    }

    /// Keeps what is about to be replaced, before it is.
    async fn keep(
        &self,
        stored: &mut StoredKept,
        webhook: &Step,
        redirect: &Step,
        voice: &mut Voice<'_>,
    ) -> Result<(), Trouble> {
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
        voice.tell(
            "kept",
            "what was there, in the bundle's table; --remove puts it back",
        );
        Ok(())
    }

    async fn set_webhook(&mut self, step: &Step, voice: &mut Voice<'_>) -> Result<(), Trouble> {
        if *step == Step::IsOurs {
            voice.tell(WEBHOOK, "is the bundle's already");
            return Ok(());
        }
        let ours = self.webhook.clone();
        self.change_webhook(Some(&ours), voice).await?;
        voice.tell(WEBHOOK, "is the bundle's now");
        Ok(())
    }

    async fn set_redirect(&mut self, step: &Step, voice: &mut Voice<'_>) -> Result<(), Trouble> {
        match step {
            Step::IsOurs => voice.tell(REDIRECT, "is the bundle's already"),
            Step::LeaveUntold => {
                let words = "was left, since 360dialog does not tell it; links made by the bundle name their own. \
                             Set it in your hub by hand, or with --replace";
                voice.tell(REDIRECT, words);
            }
            _ => {
                let ours = self.redirect.clone();
                match self.change_redirect(Some(&ours), voice).await? {
                    Seen::Untold(_) => voice.tell(
                        REDIRECT,
                        "was set; 360dialog does not tell it, so look in your hub",
                    ),
                    _ => voice.tell(REDIRECT, "is the bundle's now"),
                }
            }
        }
        Ok(())
    }

    async fn put_back(
        &mut self,
        name: &'static str,
        back: &Back,
        voice: &mut Voice<'_>,
    ) -> Result<Done, Trouble> {
        let url = match back {
            Back::Put(url) => url.as_deref(),
            Back::NotOurs => {
                voice.tell(name, "is not the bundle's: left as it is");
                return Ok(Done::Left);
            }
            Back::NothingKept => return Err(Trouble::NothingKept(name)),
            Back::Untold => return Err(Trouble::NotKnown(name)),
        };
        if name == WEBHOOK {
            self.change_webhook(url, voice).await?;
        } else {
            self.change_redirect(url, voice).await?;
        }
        voice.tell(
            name,
            &format!("is {} again", url.map_or("none".to_owned(), shown)),
        );
        Ok(Done::PutBack)
    }

    /// Sets the webhook URL and reads it back: an error may come with a change, and a success without one.
    async fn change_webhook(
        &mut self,
        url: Option<&str>,
        voice: &mut Voice<'_>,
    ) -> Result<(), Trouble> {
        let answer = self.api.set_webhook_url(url, voice).await;
        let seen = self.api.webhook_url(voice).await?;
        judge(WEBHOOK, answer, &seen, url)
    }

    /// The same with the redirect URL, which may not be told; gives back what is.
    async fn change_redirect(
        &mut self,
        url: Option<&str>,
        voice: &mut Voice<'_>,
    ) -> Result<Seen, Trouble> {
        let answer = self.api.set_redirect_url(url, voice).await;
        let seen = self.redirect_now(voice).await?;
        judge(REDIRECT, answer, &seen, url)?;
        Ok(seen)
    }
}

/// What putting back came to.
enum Done {
    PutBack,
    Left,
}

fn refuse_foreign(webhook: &Step, redirect: &Step) -> Result<(), Trouble> {
    let words = match (webhook == &Step::Refuse, redirect == &Step::Refuse) {
        (true, true) => "the webhook URL and the redirect URL are",
        (true, false) => "the webhook URL is",
        (false, true) => "the redirect URL is",
        (false, false) => return Ok(()),
    };
    Err(Trouble::Foreign(words.to_owned()))
}

/// Whether a change has come about, whatever it was answered.
fn judge(
    name: &'static str,
    answer: Result<(), ApiError>,
    seen: &Seen,
    wanted: Option<&str>,
) -> Result<(), Trouble> {
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
    Err(Trouble::Unchanged(name, in_words(seen)))
}

fn in_words(seen: &Seen) -> String {
    match seen {
        Seen::Url(url) => shown(url),
        Seen::Nothing => "none".to_owned(),
        Seen::Untold(why) => format!("unknown, 360dialog does not tell it ({why})"),
    }
}
