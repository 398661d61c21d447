//! The environment variables of the program `simulator`.

use std::{ffi::OsString, fs, net::SocketAddr, path::PathBuf, time::Duration};

use simulator::{Partner, Rate, Settings};
use url::Url;

pub(crate) const HELP: &str = "\
360dialog, simulated: onboarding pages, signed webhooks and the Partner API on one machine.

Usage: simulator [--help | --version]  (stops on Ctrl-C or SIGTERM)

Environment:
  HUB_SECRETS_FILE     required: JSON, {\"<partner id>\": {\"platform_secret\": \"…\",
                       \"partner_token\": \"…\" and/or \"partner_api_key\": \"…\"
                       and/or \"username\": \"…\", \"password\": \"…\",
                       \"billing\": \"direct_paid\" (default) or \"partner_paid\"}};
                       keys that start with _ are skipped
  HUB_LISTEN           address and port to listen on (127.0.0.1:8082)
  HUB_PUBLIC_URL       how others reach the simulator (http://HUB_LISTEN)
  HUB_STATE_FILE       where clients, channels and undelivered webhooks survive a restart
                       (in memory only)
  HUB_WEBHOOK_URL      where webhooks go; may hold {partner_id}, as in
                       http://127.0.0.1:8360/{partner_id}/webhook (none are sent);
                       an address set through the Partner API wins, here and below
  HUB_REDIRECT_URL     where the browser goes when a link has no redirect_url;
                       may hold {partner_id} (such links are refused)
  HUB_STAGE_DELAY_MS   how long a new channel stays in each stage, and until a
                       cancellation is processed (1000)
  HUB_TOKEN_SECONDS    how long a token of POST /api/v2/token is accepted (3600)
  HUB_RATE             how many Partner API calls of one partner are answered in any span,
                       as in 5/30s; the others get 429 (off)
  HUB_CHECK_SIGNATURE  on or off: whether links must be signed (on)
  RUST_LOG             what is logged to standard error (simulator=info)

Addresses:
  /dashboard/app/{partner}/permissions, /dashboard/app/{partner}, /onboarding/{partner}
                       the onboarding pages
  /api/v2/…            the Partner API; /waba/… the messaging API, as far as keys go
  POST /_hub/complete  {\"link\", \"client\", \"channels\", \"revoked\", \"cancel\", \"coexistence\"}:
                       follows a link
  POST /_hub/event     {\"partner\", \"event\", \"data\", \"signature\"}: sends a signed webhook
  POST /_hub/history   {\"partner\", \"channel\", \"bodies\", \"bytes\"}: sends months of chats
  POST /_hub/channel, /_hub/key, /_hub/permission, /_hub/lists, DELETE /_hub/channels
                       change what 360dialog knows and lists
  GET, DELETE /_hub/calls          the calls that arrived
  GET, POST, DELETE /_hub/faults   how calls are answered, and webhooks sent, other than usual
  GET  /_hub/healthz   200 while it runs
                       (their fields stand in the README)
";

const DEFAULT_LISTEN: &str = "127.0.0.1:8082";
const DEFAULT_STAGE_DELAY_MS: &str = "1000";
const DEFAULT_TOKEN_SECONDS: &str = "3600";

/// A missing or malformed setting. The message names it and never quotes its value.
#[derive(Debug, thiserror::Error)]
#[error("{name}: {reason}")]
pub(crate) struct SettingError {
    name: &'static str,
    reason: String,
}

/// Reads the settings through `variable`; a variable set to nothing counts as not set.
pub(crate) fn settings(
    variable: impl Fn(&str) -> Option<OsString>,
) -> Result<Settings, SettingError> {
    let environment = Environment(variable);
    let listen: SocketAddr =
        environment.parse("HUB_LISTEN", DEFAULT_LISTEN, "an address and port")?;
    let delay: u64 = environment.parse(
        "HUB_STAGE_DELAY_MS",
        DEFAULT_STAGE_DELAY_MS,
        "a number of milliseconds",
    )?;
    let token_lifetime: u32 = environment.parse(
        "HUB_TOKEN_SECONDS",
        DEFAULT_TOKEN_SECONDS,
        "a number of seconds",
    )?;
    let rate = environment.rate("HUB_RATE")?;
    let check_signature = match environment.text("HUB_CHECK_SIGNATURE")?.as_deref() {
        None | Some("on") => true,
        Some("off") => false,
        Some(_) => return Err(malformed("HUB_CHECK_SIGNATURE", "on or off")),
    };
    let mut partners = environment.partners()?;
    for partner in &mut partners {
        partner.check_signature = check_signature;
        partner.webhook_url = environment.address("HUB_WEBHOOK_URL", &partner.id)?;
        partner.redirect_url = environment.address("HUB_REDIRECT_URL", &partner.id)?;
    }
    Ok(Settings {
        listen,
        state_file: environment.path("HUB_STATE_FILE"),
        partners,
        stage_delay: Duration::from_millis(delay),
        token_lifetime: Duration::from_secs(token_lifetime.into()),
        rate,
        public_url: environment.text("HUB_PUBLIC_URL")?,
    })
}

struct Environment<F>(F);

impl<F: Fn(&str) -> Option<OsString>> Environment<F> {
    fn raw(&self, name: &str) -> Option<OsString> {
        (self.0)(name).filter(|value| !value.is_empty())
    }

    fn path(&self, name: &str) -> Option<PathBuf> {
        self.raw(name).map(PathBuf::from)
    }

    fn text(&self, name: &'static str) -> Result<Option<String>, SettingError> {
        self.raw(name)
            .map(|value| value.into_string().map_err(|_| malformed(name, "UTF-8")))
            .transpose()
    }

    fn parse<T: std::str::FromStr>(
        &self,
        name: &'static str,
        default: &str,
        what: &str,
    ) -> Result<T, SettingError> {
        let text = self.text(name)?;
        text.as_deref()
            .unwrap_or(default)
            .parse()
            .map_err(|_| malformed(name, what))
    }

    fn rate(&self, name: &'static str) -> Result<Option<Rate>, SettingError> {
        let text = self.text(name)?;
        match text.as_deref() {
            None | Some("off") => Ok(None),
            Some(rate) => rate
                .parse()
                .map(Some)
                .map_err(|_| malformed(name, "off or a rate such as 5/30s")),
        }
    }

    /// The address in the setting `name`, with `{partner_id}` filled in.
    fn address(&self, name: &'static str, partner: &str) -> Result<Option<String>, SettingError> {
        let Some(template) = self.text(name)? else {
            return Ok(None);
        };
        let address = template.replace("{partner_id}", partner);
        let is_http =
            Url::parse(&address).is_ok_and(|url| matches!(url.scheme(), "http" | "https"));
        let has_braces = address.contains(['{', '}']);
        if is_http && !has_braces {
            Ok(Some(address))
        } else {
            Err(malformed(
                name,
                "an http or https address, with no braces but {partner_id}",
            ))
        }
    }

    fn partners(&self) -> Result<Vec<Partner>, SettingError> {
        let name = "HUB_SECRETS_FILE";
        let path = self.path(name).ok_or_else(|| SettingError {
            name,
            reason: "is missing".to_owned(),
        })?;
        let error = |reason: String| SettingError {
            name,
            reason: format!("{}: {reason}", path.display()),
        };
        let text = fs::read_to_string(&path).map_err(|cause| error(cause.to_string()))?;
        Partner::from_secrets_json(&text).map_err(|cause| error(cause.to_string()))
    }
}

fn malformed(name: &'static str, what: &str) -> SettingError {
    SettingError {
        name,
        reason: format!("is not {what}"),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use tempfile::NamedTempFile;

    use super::*;

    fn secrets_file() -> NamedTempFile {
        let file = NamedTempFile::new().unwrap();
        fs::write(
            file.path(),
            r#"{"aAbBcCPA": {"platform_secret": "s", "partner_token": "t"}}"#,
        )
        .unwrap();
        file
    }

    fn read(
        file: &NamedTempFile,
        others: &[(&'static str, &str)],
    ) -> Result<Settings, SettingError> {
        let mut variables: HashMap<&str, OsString> =
            HashMap::from([("HUB_SECRETS_FILE", file.path().into())]);
        variables.extend(others.iter().map(|(name, value)| (*name, (*value).into())));
        settings(|name| variables.get(name).cloned())
    }

    #[test]
    fn the_secrets_file_alone_is_enough() {
        let settings = read(&secrets_file(), &[("HUB_STATE_FILE", "")]).unwrap();
        assert_eq!(settings.listen.to_string(), DEFAULT_LISTEN);
        assert_eq!(settings.stage_delay, Duration::from_secs(1));
        assert_eq!(settings.token_lifetime, Duration::from_secs(3600));
        assert_eq!((settings.rate, settings.state_file), (None, None));
        assert!(settings.partners[0].check_signature);
    }

    #[test]
    fn address_templates_are_filled_in_for_each_partner() {
        let webhook = (
            "HUB_WEBHOOK_URL",
            "http://127.0.0.1:8360/{partner_id}/webhook",
        );
        let others = [("HUB_CHECK_SIGNATURE", "off"), ("HUB_RATE", "5/30s")];
        let settings = read(&secrets_file(), &[webhook, others[0], others[1]]).unwrap();
        assert_eq!(settings.rate.unwrap().to_string(), "5/30s");
        let partner = &settings.partners[0];
        assert_eq!(
            partner.webhook_url.as_deref(),
            Some("http://127.0.0.1:8360/aAbBcCPA/webhook")
        );
        assert!(!partner.check_signature);
    }

    #[test]
    fn a_missing_or_malformed_setting_is_named() {
        assert!(
            settings(|_| None)
                .unwrap_err()
                .to_string()
                .starts_with("HUB_SECRETS_FILE: is missing")
        );
        for (name, value) in [
            ("HUB_LISTEN", "here"),
            ("HUB_STAGE_DELAY_MS", "-1"),
            ("HUB_TOKEN_SECONDS", "1.5"),
            ("HUB_RATE", "5 per minute"),
            ("HUB_CHECK_SIGNATURE", "yes"),
            ("HUB_WEBHOOK_URL", "/webhook"),
            ("HUB_REDIRECT_URL", "http://127.0.0.1/{partner}"),
            ("HUB_SECRETS_FILE", "/nowhere/secrets.json"),
        ] {
            let error = read(&secrets_file(), &[(name, value)]).unwrap_err();
            assert!(error.to_string().starts_with(name), "{error}");
        }
    }
}
