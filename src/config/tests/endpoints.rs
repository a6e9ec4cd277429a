use super::super::{Authorization, EndpointConfig, EndpointKind, Secret};
use super::*;

const TOOLS: &str = "[health.endpoints.tools]\nkind = \"mcp\"\n";

/// The only endpoint there is.
fn endpoint(config: &Config) -> (&str, &EndpointConfig) {
    assert_eq!(config.health.endpoints.len(), 1);
    let (name, endpoint) = config.health.endpoints.first_key_value().unwrap();
    (name.as_str(), endpoint)
}

fn target(endpoint: &EndpointConfig) -> String {
    endpoint.url.as_ref().unwrap().target().to_string()
}

#[test]
fn an_endpoint_has_a_name_of_the_users_own_in_each_layer() {
    let toml = TempFile::holding(&format!("{TOOLS}url = \"https://tools.example/mcp\"\ntoken = \"hunter2\"\n"));
    let environment = [
        ("SESSIONFOLD_HEALTH__ENDPOINTS__TOOLS__KIND", "mcp"),
        ("SESSIONFOLD_HEALTH__ENDPOINTS__TOOLS__URL", "https://tools.example/mcp"),
        ("SESSIONFOLD_HEALTH__ENDPOINTS__TOOLS__TOKEN", "hunter2"),
    ];
    let flags = [
        "health.endpoints.tools.kind=mcp",
        "health.endpoints.tools.url=https://tools.example/mcp",
        "health.endpoints.tools.token=hunter2",
    ];
    for loaded in [load(Some(&toml), &[], &[]), load(None, &environment, &[]), load(None, &[], &flags)] {
        let config = loaded.unwrap();
        let (name, endpoint) = endpoint(&config);
        assert_eq!(
            (name, endpoint.kind, target(endpoint)),
            ("tools", EndpointKind::Mcp, "https://tools.example/mcp".into())
        );
        let token = Authorization::Header { scheme: "Bearer", secret: Secret::from("hunter2".to_owned()) };
        assert_eq!(endpoint.authorization, token);
        assert!(!format!("{config:?}{}", config.render()).contains("hunter2"));
    }
    let config = load(Some(&toml), &[], &["health.endpoints.tools.url=http://[::1]:9/other"]).unwrap();
    assert_eq!(target(endpoint(&config).1), "http://[::1]:9/other", "layer by layer, key by key");
    assert_eq!(from_file(&config.render().replace("***", "x")).unwrap().health.endpoints.len(), 1);
}

#[test]
fn a_url_and_a_token_may_stand_in_files() {
    let (url, token) = (TempFile::holding("http://u:hunter2@h/?key=hunter2\n"), TempFile::holding("hunter2\n"));
    let with_token = format!("{TOOLS}url = \"http://h\"\ntoken_file = {:?}\n", token.path());
    let with_url = format!("{TOOLS}url_file = {:?}\n", url.path());
    for text in [with_token, with_url] {
        let config = from_file(&text).unwrap();
        assert!(matches!(endpoint(&config).1.authorization, Authorization::Header { .. }));
        assert!(!format!("{config:?}{}", config.render()).contains("hunter2"));
    }
    let variable = ("SESSIONFOLD_HEALTH__ENDPOINTS__TOOLS__TOKEN_FILE", token.path());
    let config = load(Some(&TempFile::holding(TOOLS)), &[variable], &[]).unwrap();
    assert_eq!(endpoint(&config).1.url, None);
}

#[test]
fn of_a_url_what_may_be_a_secret_is_shown_as_stars_and_the_user_is_sent_as_basic_authorization() {
    let text = format!("{TOOLS}url = \"https://jo:hunt%2Fer2@h:8443/a/b?key=hunter3&x\"\n");
    let config = from_file(&text).unwrap();
    assert!(config.render().contains("url = \"https://***@h:8443/a/b?***\" # from file"), "{}", config.render());
    let (_, endpoint) = endpoint(&config);
    assert_eq!(target(endpoint), "https://h:8443/a/b?key=hunter3&x");
    let basic = Secret::from("am86aHVudC9lcjI=".to_owned());
    assert_eq!(endpoint.authorization, Authorization::Header { scheme: "Basic", secret: basic });
    let secrets = config.secrets();
    let echoed = "hunt%2Fer2, hunt/er2, am86aHVudC9lcjI=, hunter3 and key=hunter3&x from h";
    assert_eq!(secrets.mask(echoed), "***, ***, ***, *** and *** from h");
}

#[test]
fn a_token_that_is_there_and_empty_is_missing_and_a_url_may_be_missing_too() {
    let config = from_file(&format!("{TOOLS}url = \"\"\ntoken = \"\"\n")).unwrap();
    let (_, endpoint) = endpoint(&config);
    assert_eq!((&endpoint.url, &endpoint.authorization), (&None, &Authorization::Missing));
    let config = from_file(TOOLS).unwrap();
    assert_eq!(config.health.endpoints.values().next().unwrap().authorization, Authorization::NotNeeded);
}

#[test]
fn what_is_wrong_with_an_endpoint_is_told_by_its_key_and_without_its_values() {
    for (text, expected) in [
        ("[health.endpoints.a]\nurl = \"http://h\"\n", "health.endpoints.a.kind: is not set; allowed: \"http\""),
        ("[health.endpoints.a]\nkind = \"grpc\"\n", "health.endpoints.a.kind: \"grpc\" is not a kind"),
        ("[health.endpoints.A]\nkind = \"http\"\n", "health.endpoints.A: has no name"),
        ("[health.endpoints.a__b]\nkind = \"http\"\n", "health.endpoints.a__b: has no name"),
        ("[health.endpoints.broker]\nkind = \"http\"\n", "health.endpoints.broker: \"broker\" is the name of another"),
        (
            "[health.endpoints.a]\nkin = \"http\"\n",
            "health.endpoints.a.kin: unknown key; did you mean `health.endpoints.a.kind`?",
        ),
        ("[health.endpoints]\na = \"hunter2\"\n", "health.endpoints.a: unknown key"),
        (
            "[health.endpoints.a]\nkind = \"http\"\ntoken = \"hunter2\\n\"\n",
            "health.endpoints.a.token: has a character",
        ),
        (
            "[health.endpoints.a]\nkind = \"http\"\nurl = \"http://hunter2@h\"\ntoken = \"hunter2\"\n",
            "health.endpoints.a.token: is set, and the URL has a user too",
        ),
    ] {
        let message = message(from_file(text));
        assert!(message.starts_with(expected), "{message}");
        assert!(!message.contains("hunter2"), "{message}");
    }
    for url in
        ["hunter2", "ftp://hunter2", "http://", "http://hunter2@", "/hunter2", "http://h/#hunter2", "http://h/ x"]
    {
        let message = message(from_file(&format!("[health.endpoints.a]\nkind = \"http\"\nurl = {url:?}\n")));
        assert!(message.starts_with("health.endpoints.a.url: is not the URL of an endpoint"), "{message}");
        assert!(!message.contains("hunter2"), "{message}");
    }
}
