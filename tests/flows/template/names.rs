//! Several stacks in one account: nothing of one has the name of something of another.

use std::collections::BTreeSet;

use serde_json::json;

use super::evaluate::Deployment;
use super::{Template, choices, entries};

#[test]
fn two_stacks_share_no_physical_name() {
    let template = Template::here();
    assert_eq!(shared(&template), BTreeSet::new());
    for (place, name) in [
        ("FoldFunctionClock/Properties/Name", "FoldFunctionClock"),
        ("AccessLogs/Properties/LogGroupName", "/onboarding/access"),
        (
            "SignFunction/Properties/Environment/Variables/PARTNER_SECRET_PREFIX",
            "360dialog/partners/",
        ),
    ] {
        let doctored = template.doctored(&format!("/Resources/{place}"), &json!(name));
        assert_eq!(shared(&doctored), BTreeSet::from([name.to_owned()]));
    }
}

/// The names that two stacks share, whatever is chosen.
fn shared(template: &Template) -> BTreeSet<String> {
    let of_choice = choices().map(|choice| {
        let [one, two] = ["one", "two"].map(|stack| {
            let deployed = Deployment::named(stack, &template.0, &choice);
            names(&deployed)
        });
        one.intersection(&two).cloned().collect::<BTreeSet<_>>()
    });
    of_choice.into_iter().flatten().collect()
}

/// The physical names of resources, and how the names of secrets begin. CloudFormation makes those that are not there.
fn names(deployed: &Deployment) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for resource in deployed.resources.values() {
        let properties = &resource["Properties"];
        // The name of a metric is AWS's or ours, and a stage's one of its API alone.
        let is_own =
            |name: &str| name.ends_with("Name") && name != "MetricName" && name != "StageName";
        let own = entries(properties).filter(|(name, _)| is_own(name));
        let variables = entries(&properties["Environment"]["Variables"]);
        let prefixes = variables.filter(|(name, _)| name.ends_with("_PREFIX"));
        let texts = own.chain(prefixes).filter_map(|(_, value)| value.as_str());
        // A name in angle brackets is another resource.
        let texts = texts.filter(|text| !text.starts_with('<'));
        names.extend(texts.map(str::to_owned));
    }
    names
}
