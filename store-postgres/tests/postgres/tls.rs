//! Encrypted connections: who is trusted, and how others are refused.

use std::path::PathBuf;
use std::sync::LazyLock;

use pgworkflows_pg_harness::{Builder, Postgres};
use pgworkflows_postgres::PostgresStore;
use sqlx::{Connection, PgConnection};

use crate::engine;
use crate::support::{assert_misconfigured, execute};

const ROOT: &str = include_str!("tls/root.crt");
const CERTIFICATE: &str = include_str!("tls/server.crt");
const KEY: &str = include_str!("tls/server.key");

/// A server that encrypts, with a certificate for 127.0.0.1, and takes no other connections.
fn encrypting(access: &str) -> Builder {
    let server = Postgres::builder().setting("ssl", "on").data_file("pg_hba.conf", access);
    server.data_file("server.crt", CERTIFICATE).data_file("server.key", KEY)
}

/// One that takes everybody who encrypts.
static SERVER: LazyLock<Postgres> =
    LazyLock::new(|| encrypting("hostssl all all 127.0.0.1/32 trust").start().unwrap());

/// The path of a certificate or key of the tests.
fn file(name: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/postgres/tls").join(name);
    path.to_str().unwrap().to_owned()
}

/// The server's address with these parameters.
fn url(server: &Postgres, parameters: &str) -> String {
    format!("{}?{parameters}", server.url())
}

#[tokio::test]
async fn server_whose_authority_is_known_is_verified_and_everything_works_encrypted() {
    let url = url(&SERVER, &format!("sslmode=verify-full&sslrootcert={}", file("root.crt")));
    let store = PostgresStore::builder(&url).schema("verified").connect().await.unwrap();
    engine::runs_complete(&store, 1).await;
}

#[tokio::test]
async fn encryption_without_verification_is_possible_and_the_default_where_a_server_has_it() {
    for parameters in ["sslmode=require", "sslmode=prefer", "application_name=x"] {
        PostgresStore::builder(&url(&SERVER, parameters)).schema("unverified").connect().await.unwrap();
    }
}

#[tokio::test]
async fn server_of_another_authority_is_refused() {
    for parameters in
        [format!("sslmode=verify-full&sslrootcert={}", file("other.crt")), "sslmode=verify-ca".to_owned()]
    {
        let answer = PostgresStore::connect(&url(&SERVER, &parameters)).await;
        assert_misconfigured(answer, &["127.0.0.1", "cannot be trusted", "UnknownIssuer", "`sslrootcert`"]);
    }
}

#[tokio::test]
async fn server_with_the_certificate_of_another_name_is_refused_if_the_name_is_verified() {
    let named = |mode: &str| {
        let parameters = format!("sslmode={mode}&sslrootcert={}", file("root.crt"));
        url(&SERVER, &parameters).replacen("127.0.0.1", "localhost", 1)
    };
    assert_misconfigured(
        PostgresStore::connect(&named("verify-full")).await,
        &["localhost", "not valid for name", "the name that is in the server's certificate"],
    );
    PostgresStore::builder(&named("verify-ca")).schema("named").connect().await.unwrap();
}

#[tokio::test]
async fn connection_that_is_not_encrypted_is_refused_by_a_server_that_demands_it() {
    for mode in ["disable", "allow"] {
        let answer = PostgresStore::connect(&url(&SERVER, &format!("sslmode={mode}"))).await;
        assert_misconfigured(answer, &["no encryption", "demands encryption", "sslmode=verify-full"]);
    }
}

#[tokio::test]
async fn server_without_encryption_is_refused_if_it_is_demanded() {
    for mode in ["require", "verify-ca", "verify-full"] {
        let answer = PostgresStore::connect(&format!("{}?sslmode={mode}", Postgres::shared().url())).await;
        assert_misconfigured(answer, &["does not support TLS", "`sslmode`"]);
    }
}

#[tokio::test]
async fn client_proves_who_it_is_by_its_certificate() {
    let server = encrypting("hostssl all all 127.0.0.1/32 cert")
        .setting("ssl_ca_file", "root.crt")
        .data_file("root.crt", ROOT)
        .start()
        .unwrap();
    let verified = format!("sslmode=verify-full&sslrootcert={}", file("root.crt"));
    let proof = format!("sslcert={}&sslkey={}", file("client.crt"), file("client.key"));
    let store = PostgresStore::connect(&url(&server, &format!("{verified}&{proof}"))).await.unwrap();
    engine::runs_complete(&store, 1).await;
    assert_misconfigured(
        PostgresStore::connect(&url(&server, &verified)).await,
        &["the server refused the user", "certificate"],
    );
    let half = format!("{verified}&sslcert={}", file("client.crt"));
    assert_misconfigured(PostgresStore::connect(&url(&server, &half)).await, &["key", "together"]);
}

#[tokio::test]
async fn example_of_the_guide_works() {
    let guide = include_str!("../../../docs/security.md");
    let block = |beginning: &str| {
        let found = guide.split("```text\n").find(|block| block.starts_with(beginning));
        found.and_then(|block| block.split("```").next()).unwrap().trim()
    };
    let access = format!("hostssl all postgres 127.0.0.1/32 trust\n{}", block("hostssl"));
    let server = encrypting(&access).start().unwrap();
    let mut connection = PgConnection::connect(&server.url()).await.unwrap();
    for statement in ["create role app login password 'hunter2'", "create database app owner app"] {
        execute(&mut connection, statement).await;
    }
    let address =
        block("postgres://").replace("db.example.org:5432", &format!("127.0.0.1:{}", server.port()));
    let address = address.replace("/etc/ssl/pgworkflows.crt", &file("root.crt"));
    let store = PostgresStore::connect(&address).await.unwrap();
    engine::runs_complete(&store, 1).await;
    let wrong = address.replace("hunter2", "hunter3");
    assert_misconfigured(PostgresStore::connect(&wrong).await, &["check user and password"]);
}

#[tokio::test]
async fn file_that_is_missing_or_no_certificate_is_refused_and_named() {
    for name in ["sslrootcert", "sslcert", "sslkey"] {
        let answer =
            PostgresStore::connect(&url(&SERVER, &format!("sslmode=verify-full&{name}=/no/such/file"))).await;
        assert_misconfigured(answer, &["`/no/such/file`", name, "correct the path"]);
    }
    let answer = PostgresStore::connect(&url(&SERVER, "sslmode=sometimes")).await;
    assert_misconfigured(answer, &["sometimes"]);
}
