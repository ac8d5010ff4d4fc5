//! Warns of server settings under which a crash or a failover may lose acknowledged requests. It never refuses them: an
//! administrator may have chosen them.

use pgworkflows_core::store::StoreError;

use crate::connect::describe_address;
use crate::shared::Shared;
use crate::values::get;

/// The settings, and the asynchronous standbys. A role without the right to see a standby's kind reads null, which
/// gives no warning.
pub(crate) const DURABILITY: &str = "
    select pg_catalog.current_setting('fsync'), pg_catalog.current_setting('synchronous_commit'),
           pg_catalog.current_setting('synchronous_standby_names') <> '',
           (select pg_catalog.string_agg(distinct r.application_name, ', ') from pg_catalog.pg_stat_replication r
            where r.state = 'streaming' and r.sync_state = 'async')";

/// Warns of each setting that puts acknowledged requests at risk.
pub(crate) async fn warn(shared: &Shared) -> Result<(), StoreError> {
    let row = &shared.fetch_one(shared.statements.query(DURABILITY)).await?;
    let (fsync, commit): (String, String) = (get(row, 0)?, get(row, 1)?);
    let (waits_for_standbys, asynchronous): (bool, Option<String>) = (get(row, 2)?, get(row, 3)?);
    for risk in risks(&fsync, &commit, waits_for_standbys, asynchronous.as_deref()) {
        let address = describe_address(&shared.options.connect);
        tracing::warn!("{address}: {risk}");
    }
    Ok(())
}

pub(crate) fn risks(
    fsync: &str,
    commit: &str,
    waits_for_standbys: bool,
    asynchronous: Option<&str>,
) -> Vec<String> {
    let mut risks = Vec::new();
    if fsync == "off" {
        risks.push("`fsync` is off: a crash of the machine may destroy the database".to_owned());
    }
    if commit == "off" {
        risks.push(
            "`synchronous_commit` is off: a crash of the server may take back starts, signals and results that were \
             acknowledged"
                .to_owned(),
        );
    }
    let lost = "if a standby takes over, starts, signals and results that were acknowledged may be missing";
    match asynchronous {
        _ if waits_for_standbys && ["off", "local"].contains(&commit) => risks.push(format!(
            "`synchronous_commit` is {commit}, so that no commit waits for the synchronous standbys: {lost}"
        )),
        Some(standbys) if !waits_for_standbys => risks.push(format!(
            "the standbys ({standbys}) are asynchronous, see `synchronous_standby_names`: {lost}"
        )),
        Some(_) | None => {}
    }
    risks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_settings_that_may_lose_requests_are_warned_of() {
        for (fsync, commit, waits, asynchronous, words) in [
            ("on", "on", false, None, &[][..]),
            ("on", "on", true, Some("third"), &[]),
            ("on", "remote_apply", true, None, &[]),
            ("off", "on", false, None, &["`fsync`"]),
            ("on", "off", false, None, &["a crash of the server"]),
            ("on", "local", true, None, &["no commit waits"]),
            ("on", "local", false, None, &[]),
            ("on", "on", false, Some("second"), &["(second) are asynchronous"]),
            ("on", "off", true, None, &["a crash of the server", "no commit waits"]),
        ] {
            let risks = risks(fsync, commit, waits, asynchronous);
            assert_eq!(risks.len(), words.len(), "{risks:?}");
            assert!(risks.iter().zip(words).all(|(risk, word)| risk.contains(word)), "{risks:?}");
        }
    }
}
