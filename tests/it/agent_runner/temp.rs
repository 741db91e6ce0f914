//! Temporary files of a run.

use std::path::Path;

use super::{Bench, text};
use crate::support::fake_agent::FakeDriver;

#[tokio::test]
async fn temporary_files_go_with_the_run_and_others_stay() {
    let bench = Bench::new(FakeDriver::default());
    let temp = bench.path().join("tmp");
    let mut turn = bench.turn(
        r#"echo secret >"$TMPDIR/gemini-client-error-1.json"; mkdir "$TMP/deep"; [ "$TEMP" = "$TMPDIR" ] || exit 1
        echo '{"answer":"'"$TMPDIR"'"}'"#,
    );
    turn.env = turn.env.with_temp_dir(&temp);
    std::fs::create_dir_all(temp.join("mine")).unwrap();
    let (report, _) = bench.run(&turn).await;
    let own = Path::new(text(&report)).to_path_buf();
    assert_eq!((own.parent(), own.exists()), (Some(temp.as_path()), false));
    assert!(temp.join("mine").exists());
}

/// It takes `/proc` to see who is still there.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn what_goes_on_in_peace_keeps_its_temporary_files() {
    use gateway::job::agent::clear_temp;
    use gateway::provider::request::Access;

    use crate::support::eventually::eventually;

    let bench = Bench::new(FakeDriver::default());
    let temp = bench.path().join("tmp");
    let mut turn = bench.turn(
        r#"background='touch "$TMPDIR/used"; until [ -e "$TMPDIR/end" ]; do sleep 0.05; done'
        setsid sh -c "$background" >/dev/null 2>&1 &
        until [ -e "$TMPDIR/used" ]; do sleep 0.05; done
        echo '{"answer":"'"$TMPDIR"'"}'"#,
    );
    turn.request.access = Access::Full;
    turn.env = turn.env.with_temp_dir(&temp);
    let (report, _) = bench.run(&turn).await;
    let own = Path::new(text(&report)).to_path_buf();
    clear_temp(&temp);
    assert!(own.join("used").exists(), "it is still in use");
    std::fs::create_dir(own.join("end")).unwrap();
    eventually("the directory to be left", || async {
        clear_temp(&temp);
        (!own.exists()).then_some(())
    })
    .await;
}
