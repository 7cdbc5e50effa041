import org.apache.kafka.common.security.auth.AuthenticationContext;
import org.apache.kafka.common.security.auth.KafkaPrincipal;
import org.apache.kafka.common.security.authenticator.DefaultKafkaPrincipalBuilder;
import org.apache.kafka.common.security.ssl.SslPrincipalMapper;

/** Runs in the brokers: a client of the listener GUEST is User:guest, every other one is who Kafka takes it for. */
public final class ListenerPrincipal extends DefaultKafkaPrincipalBuilder {
    private static final KafkaPrincipal GUEST = new KafkaPrincipal(KafkaPrincipal.USER_TYPE, "guest");

    /** Called by Kafka. */
    public ListenerPrincipal() {
        super(null, SslPrincipalMapper.fromRules("DEFAULT"));
    }

    @Override
    public KafkaPrincipal build(AuthenticationContext context) {
        return context.listenerName().equals("GUEST") ? GUEST : super.build(context);
    }
}
