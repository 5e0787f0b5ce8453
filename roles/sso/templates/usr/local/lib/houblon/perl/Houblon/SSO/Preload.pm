# Written by houblon (role sso). Loaded before the server forks, so that its processes share the code instead of each
# reading its own copy.
package Houblon::SSO::Preload;

use strict;
use warnings;
use Houblon::SSO::Password;
use HTML::Template;
use Lemonldap::NG::Common::Conf::Backends::File;
use Lemonldap::NG::Portal;
use Lemonldap::NG::Portal::2F::Engines::Default;
use Lemonldap::NG::Portal::2F::Register::TOTP;
use Lemonldap::NG::Portal::2F::Register::WebAuthn;
use Lemonldap::NG::Portal::2F::TOTP;
use Lemonldap::NG::Portal::2F::WebAuthn;
use Lemonldap::NG::Portal::Auth::LDAP;
use Lemonldap::NG::Portal::Issuer::OpenIDConnect;
use Lemonldap::NG::Portal::Main::Menu;
use Lemonldap::NG::Portal::Password::LDAP;
use Lemonldap::NG::Portal::UserDB::LDAP;

1;
