//! Weights in files of their own: pushed with the model, and never believed.

use weighbridge_tests::Gateway;
use weighbridge_tests::gateway::fp32;
use weighbridge_tests::onnx::odd::external;

/// Twice the unit matrix, after 16 other bytes.
fn weights() -> Vec<u8> {
    let element = |k: usize| if k.is_multiple_of(5) { 2f32 } else { 0.0 };
    let mut bytes = vec![0xff; 16];
    (0..16).for_each(|k| bytes.extend_from_slice(&element(k).to_le_bytes()));
    bytes
}

#[tokio::test]
async fn a_model_with_its_weights_beside_it_is_pushed_served_and_loaded_again() {
    let mut gateway = Gateway::start().ready().await;
    let net = gateway.file("net.onnx", &external("parts/net.bin", "16", 1));
    let parts = net.with_file_name("parts");
    std::fs::create_dir_all(&parts).expect("a folder");
    std::fs::write(parts.join("net.bin"), weights()).expect("a file");
    let net = net.to_str().expect("a path");
    gateway.cli(&["push", "net", net]).await.ended(0, &["1 of net, ready"]);
    gateway.promote("net", 1).await.expect(200);
    let asked = fp32("x", &[[1.0, 2.0, 3.0, 4.0]]);
    let doubled = [2.0, 4.0, 6.0, 8.0];
    assert_eq!(gateway.infer("net", &asked).await.expect(200).output("y"), doubled);
    gateway.kill9();
    gateway.restart().await;
    assert_eq!(gateway.infer("net", &asked).await.expect(200).output("y"), doubled);

    // Another file of weights is another version, the same one the same.
    let (whole, ask) = (weights(), || gateway.versions_ask("net"));
    let onnx = |offset| external("parts/net.bin", offset, 1);
    let other = ask().upload_external(&onnx("0"), &[("parts/net.bin", &whole[16..])]);
    assert_eq!(gateway.pushed(other).await["version"], 2);
    let again = ask().upload_external(&onnx("16"), &[("parts/net.bin", &whole)]);
    assert_eq!(gateway.pushed(again).await["version"], 1);
    std::fs::remove_file(parts.join("net.bin")).expect("a file");
    gateway.cli(&["push", "net", net]).await.ended(1, &["net.bin"]);
}

#[tokio::test]
async fn files_that_lead_elsewhere_or_do_not_fit_are_refused_by_name() {
    let gateway = Gateway::start().ready().await;
    let whole = weights();
    let file: &[(&str, &[u8])] = &[("w.bin", &whole)];
    type Refused<'a> = (Vec<u8>, &'a [(&'a str, &'a [u8])], &'a [&'a str]);
    let table: &[Refused<'_>] = &[
        (external("w.bin", "16", 1), &[], &["w.bin"]),
        (external("/etc/passwd", "0", 1), file, &["w0", "/etc/passwd"]),
        (external("../w.bin", "0", 1), file, &["w0", "../w.bin"]),
        (external("a/../../w.bin", "0", 1), file, &["w0", "a/../../w.bin"]),
        (external("w.bin", "17", 1), file, &["w0", "w.bin", "80 bytes"]),
        (external("w.bin", "18446744073709551615", 1), file, &["w0"]),
        (external("w.bin", "-1", 1), file, &["w0", "offset"]),
        // Few bytes that would become many.
        (external("w.bin", "16", 50), file, &["80 bytes"]),
    ];
    for (onnx, files, facts) in table {
        let ask = gateway.versions_ask("bad").upload_external(onnx, files);
        let version = gateway.pushed(ask).await;
        assert_eq!(version["state"], "rejected", "{facts:?}: {version}");
        let reason = version["reason"].as_str().expect("a reason");
        assert!(facts.iter().all(|fact| reason.contains(fact)), "{facts:?}: {reason}");
    }
    let refused = async |files: &[(&str, &[u8])], facts: &[&str]| {
        let onnx = external("w.bin", "0", 1);
        let ask = gateway.versions_ask("bad").upload_external(&onnx, files);
        ask.send().await.refused(400, facts);
    };
    for name in ["../w.bin", "/w.bin", ""] {
        refused(&[(name, b"")], &["external"]).await;
    }
    refused(&[("w.bin", b"1"), ("w.bin", b"2")], &["w.bin", "twice"]).await;
}
