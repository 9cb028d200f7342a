"""One kind of TLS context for all connections that this program opens."""

import ssl

import pytest

from legato.tls import client_context


def test_the_server_is_verified_and_a_self_made_authority_need_not_be_strict():
    context = client_context()
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert not context.verify_flags & ssl.VERIFY_X509_STRICT


def test_a_file_without_a_certificate_is_an_error(tmp_path):
    path = tmp_path / "ca.pem"
    with pytest.raises(FileNotFoundError):
        client_context(path)
    path.write_text("no certificate")
    with pytest.raises(ssl.SSLError):
        client_context(path)
