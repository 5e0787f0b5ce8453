# Written by houblon (role sso). LemonLDAP::NG's reset of passwords, for one-time links too.
#
# What its MailPasswordReset does not do: keep a link alive until a password was accepted (there, one that is too
# short burns it), end the earlier links and the sessions of the person, work without mail, say the same about people
# who have no address as about people who do not exist, refuse to change a password outside a session.
package Houblon::SSO::Password;

use strict;
use warnings;
use Mouse;
use Houblon::SSO;
use Lemonldap::NG::Portal::Main::Constants qw(
  PE_OK PE_ERROR PE_MAILOK PE_PASSWORD_OK PE_BADMAILTOKEN PE_MAILCONFIRMOK PE_PASSWORD_MISMATCH PE_PASSWORDFORMEMPTY
  PE_TOKENEXPIRED PE_SESSIONEXPIRED
);

extends 'Lemonldap::NG::Portal::Plugins::MailPasswordReset';

use constant beforeAuth    => 'refuse_old_password';
use constant hook          => { passwordAfterChange => 'end_sessions' };
use constant QUIET_SECONDS => 600;

sub init {
    my ($self) = @_;
    $self->SUPER::init or return 0;
    # A family shares a browser: a link must open its own page even when somebody else is signed in.
    $self->addAuthRoute( resetpwd => 'resetPwd', [ 'POST', 'GET' ] );
    return 1;
}

# LemonLDAP::NG lets whoever knows the old password change it without a session, so without a second factor. This runs
# before every authentication and never inside a session.
sub refuse_old_password {
    my ( $self, $req ) = @_;
    return PE_OK unless defined $req->param('oldpassword');
    my ( $name, $form ) = map { $req->param($_) // '' } qw(user token);

    # Without the form's token, any page on the web could get its visitors banned.
    if ( $name =~ /$self->{conf}{userControl}/ and $form and $self->ott->getToken($form) ) {
        $self->userLogger->warn( "Bad password for $name (" . $req->address . ')' );
    }
    $self->p->_authentication->setSecurity($req);
    return PE_SESSIONEXPIRED;
}

sub resetPwd {
    my ( $self, $req ) = @_;
    return [ 302, [ Location => $self->p->portal ], [] ]
      unless $self->conf->{houblonMailer} or $req->param('mail_token');
    $req->userData( {} );
    $req->sessionInfo( {} );
    $req->id(undef);
    return $self->SUPER::resetPwd($req);
}

sub searchUser {
    my ( $self, $req, $by_mail ) = @_;
    my $result = $self->SUPER::searchUser( $req, $by_mail );
    # A link whose person is gone or disabled.
    return $result == PE_OK ? PE_OK : PE_BADMAILTOKEN unless $by_mail;
    if ( $result == PE_OK and !$req->sessionInfo->{ $self->conf->{mailSessionKey} } ) {
        $self->userLogger->warn( 'Reset asked for ' . $req->user . ', who has no address' );
        $result = PE_MAILCONFIRMOK;
    }
    return $result;
}

# Called with what was typed, which may be a name or the person's address; createMailSession knows the name.
sub getMailSession { return '' }

sub createMailSession {
    my ( $self, $req ) = @_;
    my $name = $req->user( $req->sessionInfo->{uid} );
    my $old  = Houblon::SSO::links( $self->conf, $name );
    my ($young) =
      grep { time - ( $old->{$_}{mailSessionStartTimestamp} || 0 ) < QUIET_SECONDS && !$old->{$_}{houblon} } keys %$old;
    if ($young) {
        $req->data->{houblonQuiet} = 1;
        return $self->p->getApacheSession( $young, kind => 'TOKEN', hashStore => 0 );
    }
    # Anybody may ask for a mail: the links on paper go on, until one of them all has led to a password.
    Houblon::SSO::end( $self->conf, grep { !$old->{$_}{houblon} } keys %$old );
    return $self->SUPER::createMailSession($req);
}

sub changePwd {
    my ( $self, $req ) = @_;
    my $id   = $req->param('mail_token') || '';
    my $link = $id && $self->p->getApacheSession( $id, kind => 'TOKEN', hashStore => 0 );
    return PE_BADMAILTOKEN unless $link and ( $link->data->{_type} || '' ) eq 'mail';
    $req->user( $link->data->{user} );
    my $found = $self->searchUser( $req, 0 );
    return $found unless $found == PE_OK;

    # From here on every answer is the form again, with a token of its own.
    $req->data->{mailToken} = $id;
    my $form   = $req->param('token');
    my $result = $form && $self->ott->getToken($form) ? $self->_set( $req, $link ) : PE_TOKENEXPIRED;
    $self->ott->setToken( $req, {} ) unless $result == PE_MAILOK;
    return $result;
}

sub _set {
    my ( $self, $req, $link ) = @_;
    my ( $new, $again ) = map { $req->param($_) // '' } qw(newpassword confirmpassword);
    return PE_PASSWORDFORMEMPTY unless length $new and length $again;
    return PE_PASSWORD_MISMATCH unless $new eq $again;
    $req->data->{newpassword} = $new;
    my $result = $self->p->_passwordDB->setNewPassword( $req, $new, 0 );
    return $result || PE_ERROR unless ( $result || 0 ) == PE_PASSWORD_OK;

    my $name = $link->data->{user};
    Houblon::SSO::end( $self->conf, $link->id, keys %{ Houblon::SSO::links( $self->conf, $name ) } );
    $self->userLogger->notice( "Password chosen by link for $name (" . $req->address . ')' );
    $self->sendEmail(
        $req,
        subject_trmsg => 'mailSubject',
        body_template => 'mail_password',
        dest          => $req->sessionInfo->{ $self->conf->{mailSessionKey} },
        params        => {},
    );
    return PE_MAILOK;
}

sub sendEmail {
    my ( $self, $req, %arguments ) = @_;
    return 1 if !$self->conf->{houblonMailer} or !$arguments{dest} or $req->data->{houblonQuiet};
    return $self->SUPER::sendEmail( $req, %arguments );
}

# Whoever knew the old password may be in: a new one ends every session but the one in which it was chosen. There is
# none when it was chosen by link.
sub end_sessions {
    my ( $self, $req, $user, $new, $old ) = @_;
    my $name = $req->userData->{uid} || $req->sessionInfo->{uid} || $user;
    my $here = $req->userData->{_session_id} || '';
    my $all  = Houblon::SSO::of_person( $self->conf, $name );
    Houblon::SSO::end(
        $self->conf,
        grep {
            my $one = $all->{$_};
            my $own = length $here && ( $_ eq $here || ( $one->{user_session_id} || '' ) eq $here );
            !$own && ( $one->{_type} || '' ) ne 'mail'
        } keys %$all
    );
    return PE_OK;
}

1;
